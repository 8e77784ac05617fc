// Records of a file whose parts have kinds nobody can work with, made sound. What is right stays as it is, to the letter.

/** @typedef {Record<string, unknown>} Json */

/**
 * A slot of a node or of the border of a subgraph: it has a name and a type.
 * @param {Json} slot
 * @returns {Json}
 */
export function soundSlot(slot) {
  const { name, type, label, localized_name: local, widget } = slot;
  const right = typeof name === "string" && isType(type) && isText(label) && isText(local) && (widget === undefined || widget === null || hasName(widget));
  if (right) return slot;
  const { label: _label, localized_name: _local, widget: _widget, ...rest } = slot;
  return {
    ...rest, name: typeof name === "string" ? name : String(name ?? ""), type: isType(type) ? type : "*",
    ...(typeof label === "string" ? { label } : {}), ...(typeof local === "string" ? { localized_name: local } : {}), ...(hasName(widget) ? { widget } : {}),
  };
}

/** What else a node has besides its slots, place and size. @param {Json} node @returns {Json} */
export function soundNode(node) {
  /** @type {Readonly<Record<string, (value: unknown) => boolean>>} */
  const kinds = {
    title: isText, color: isText, bgcolor: isText, flags: isObject, properties: isObject, widgets_values: (value) => typeof value === "object", widgets_values_named: isObject,
    mode: (value) => typeof value === "number",
  };
  const wrong = Object.keys(kinds).filter((key) => node[key] !== undefined && node[key] !== null && !kinds[key](node[key]));
  if (!wrong.length) return node;
  const sound = { ...node };
  for (const key of wrong) delete sound[key];
  return sound;
}

/** @param {unknown} type */
export function isType(type) {
  return typeof type === "string" || typeof type === "number" || (Array.isArray(type) && type.every((each) => typeof each !== "object"));
}

/** @param {unknown} value @returns {value is {name: string}} */
function hasName(value) {
  return isObject(value) && typeof value.name === "string";
}

/** @param {unknown} value */
function isText(value) {
  return value === undefined || value === null || typeof value === "string";
}

/** @param {unknown} value @returns {value is Json} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
