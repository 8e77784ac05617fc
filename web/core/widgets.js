// `widgets_values` of a node: which position belongs to which input, and reading and writing by name.

/** @typedef {import("./definitions.js").InputDefinition} InputDefinition */
/** @typedef {import("./definitions.js").NodeDefinition} NodeDefinition */
/** @typedef {import("./records.js").NodeRecord} NodeRecord */
/** @typedef {import("./records.js").WidgetValues} WidgetValues */
/**
 * What one position holds: the value of an input, or something only the editor needs.
 * @typedef {object} WidgetEntry
 * @property {"value" | "control" | "filter" | "upload"} role
 * @property {string} name  of the input it belongs to
 * @property {InputDefinition} input
 */

const SEED_NAMES = new Set(["seed", "noise_seed"]);
const UPLOADS = ["image_upload", "video_upload", "animated_image_upload"];

/**
 * Whether a number gets a "randomize, increment ..." widget beside it.
 * @param {InputDefinition} input
 */
export function hasControl(input) {
  const flag = input.options.control_after_generate;
  if (input.type === "COMBO") return Boolean(flag);
  return input.type === "INT" && (flag === undefined ? SEED_NAMES.has(input.name) : Boolean(flag));
}

/**
 * @param {readonly InputDefinition[]} inputs  in the order of the definition
 * @returns {WidgetEntry[]}
 */
export function widgetLayout(inputs) {
  /** @type {WidgetEntry[]} */
  const layout = [];
  for (const input of inputs.filter((each) => each.widget)) {
    layout.push({ role: "value", name: input.name, input });
    if (hasControl(input)) {
      layout.push({ role: "control", name: input.name, input });
      if (input.type === "COMBO") layout.push({ role: "filter", name: input.name, input });
    }
  }
  const upload = inputs.find((input) => input.required && input.type === "COMBO" && UPLOADS.some((key) => input.options[key]));
  if (upload) layout.push({ role: "upload", name: upload.name, input: upload });
  return layout;
}

/**
 * What a position holds in a fresh node.
 * @param {WidgetEntry} entry
 * @returns {unknown}
 */
export function defaultValue({ role, input }) {
  if (role === "control") return input.type === "COMBO" ? "fixed" : "randomize";
  if (role === "filter") return "";
  if (role === "upload") return "image";
  if (input.options.default !== undefined) return input.options.default;
  switch (input.type) {
    case "INT":
    case "FLOAT":
      return 0;
    case "BOOLEAN":
      return false;
    case "CURVE":
      return [[0, 0], [1, 1]];
    case "COMBO":
      return input.choices?.[0] ?? "";
    default:
      return input.choices?.[0] ?? "";
  }
}

/**
 * The values of a fresh node.
 * @param {NodeDefinition} definition
 * @returns {unknown[]}
 */
export function defaultValues(definition) {
  return layoutFor({}, definition).map(defaultValue);
}

/**
 * What the positions of a node hold: those of its definition, and after a choice that brings inputs those of what is chosen.
 * @param {Readonly<Partial<NodeRecord>>} node
 * @param {NodeDefinition} definition
 * @returns {readonly WidgetEntry[]}
 */
export function layoutFor(node, definition) {
  if (!definition.layout.some(({ input }) => input.branches)) return definition.layout;
  /** @type {WidgetEntry[]} */
  const layout = [];
  const left = [...definition.layout];
  for (let entry = left.shift(); entry; entry = left.shift()) {
    layout.push(entry);
    if (entry.role === "value" && entry.input.branches) left.unshift(...widgetLayout(branchOf(entry.input, heldAt(node, entry, layout.length - 1))));
  }
  return layout;
}

/** @param {Readonly<Partial<NodeRecord>>} node @param {WidgetEntry} entry @param {number} at */
function heldAt({ widgets_values: values, widgets_values_named: named }, entry, at) {
  if (named && Object.hasOwn(named, entry.name)) return named[entry.name];
  const held = Array.isArray(values) ? values[at] : /** @type {Record<string, unknown> | null | undefined} */ (values)?.[entry.name];
  return held === undefined ? defaultValue(entry) : held;
}

/** The inputs a value of a choice brings. @param {InputDefinition} input @param {unknown} value */
function branchOf(input, value) {
  return input.branches?.get(String(value)) ?? [];
}

/**
 * All inputs a node has now: those of its definition, and what its choices bring.
 * @param {Readonly<Partial<NodeRecord>>} node
 * @param {NodeDefinition} definition
 * @returns {readonly InputDefinition[]}
 */
export function inputsFor(node, definition) {
  if (!definition.inputs.some((input) => input.branches)) return definition.inputs;
  const brought = layoutFor(node, definition).flatMap((entry, at) => (entry.role === "value" && entry.input.branches ? branchOf(entry.input, heldAt(node, entry, at)) : []));
  return [...definition.inputs, ...brought];
}

/**
 * An input of a node by its name; of a row that grows, any of the row.
 * @param {Readonly<Partial<NodeRecord>>} node
 * @param {NodeDefinition} definition
 * @param {string} name
 * @returns {InputDefinition | undefined}
 */
export function inputNamed(node, definition, name) {
  return inputsFor(node, definition).find((input) => input.name === name || input.grows?.names.includes(name));
}

/** The sockets a node needs for inputs without a widget. @param {InputDefinition} input @returns {import("./records.js").InputSlot[]} */
export function socketsFor({ name, type, required, widget, grows }) {
  if (grows) return grows.names.slice(0, grows.least).map((each) => ({ name: each, type: grows.type, shape: 7 }));
  return widget ? [] : [{ name, type, ...(required ? {} : { shape: 7 }) }];
}

/**
 * The values of a node without the places that old files keep for inputs that have only a socket. Those are there when the number of
 * values is exactly what it would be with them; a seed among them has two.
 * @param {WidgetValues | undefined} values
 * @param {NodeDefinition} definition
 * @returns {WidgetValues | undefined}
 */
function withoutDummies(values, definition) {
  if (!Array.isArray(values)) return values;
  const forced = definition.inputs.filter((input) => input.options.forceInput === true);
  if (!forced.length || definition.inputs.some((input) => input.branches)) return values;
  /** @type {boolean[]} whether the value at a position is to be kept */
  const keep = [];
  for (const input of definition.inputs) {
    if (input.widget) {
      for (const entry of definition.layout) if (entry.name === input.name && entry.role !== "upload") keep.push(true);
    } else if (forced.includes(input)) {
      keep.push(false);
      if (input.type === "INT" && SEED_NAMES.has(input.name)) keep.push(false);
    }
  }
  if (definition.layout.some((entry) => entry.role === "upload")) keep.push(true);
  return values.length === keep.length ? values.filter((_, i) => keep[i]) : values;
}

/**
 * What a node holds for every widget of its definition, defaults where it holds nothing.
 * @param {Readonly<NodeRecord>} node
 * @param {NodeDefinition} definition
 * @returns {Map<string, unknown>} by name of the input, in the order of the definition
 */
export function readWidgets(node, definition) {
  const positional = withoutDummies(node.widgets_values, definition);
  const named = node.widgets_values_named;
  /** @type {Map<string, unknown>} */
  const values = new Map();
  layoutFor(node, definition).forEach((entry, i) => {
    if (entry.role !== "value") return;
    let value;
    if (named && Object.hasOwn(named, entry.name)) value = named[entry.name];
    else if (Array.isArray(positional)) value = positional[i];
    else if (positional) value = /** @type {Record<string, unknown>} */ (positional)[entry.name];
    values.set(entry.name, modern(entry, value === undefined ? defaultValue(entry) : value));
  });
  return values;
}

/**
 * How the seed (or a choice) at this input changes after a run: fixed, increment, decrement, randomize.
 * @param {Readonly<NodeRecord>} node
 * @param {NodeDefinition} definition
 * @param {string} name
 * @returns {string | null} null when the input has no such control
 */
export function readControl(node, definition, name) {
  const layout = layoutFor(node, definition);
  const at = layout.findIndex((entry) => entry.name === name && entry.role === "control");
  if (at < 0) return null;
  const values = withoutDummies(node.widgets_values, definition);
  const value = Array.isArray(values) ? values[at] : undefined;
  if (typeof value === "boolean") return value ? "randomize" : "fixed";
  return typeof value === "string" ? value : String(defaultValue(layout[at]));
}

/**
 * A node with another value at one widget. Positions it did not have are filled with defaults.
 * @param {Readonly<NodeRecord>} node
 * @param {NodeDefinition} definition
 * @param {string} name
 * @param {unknown} value
 * @param {"value" | "control" | "filter"} [role]
 * @returns {NodeRecord}
 * @throws {Error} when the definition has no such widget
 */
export function withWidget(node, definition, name, value, role = "value") {
  const layout = layoutFor(node, definition);
  const at = layout.findIndex((entry) => entry.name === name && entry.role === role);
  if (at < 0) throw new Error(`${definition.title} has no ${role === "value" ? "widget" : role} named ${name}.`);
  const held = withoutDummies(node.widgets_values, definition);
  /** @type {NodeRecord} */
  const changed = { ...node };
  if (held && !Array.isArray(held)) changed.widgets_values = { ...held, [name]: value };
  else {
    const values = /** @type {unknown[]} */ (Array.isArray(held) ? [...held] : []);
    while (values.length < at) values.push(defaultValue(layout[values.length]));
    values[at] = value;
    changed.widgets_values = values;
  }
  if (role === "value" && node.widgets_values_named) changed.widgets_values_named = { ...node.widgets_values_named, [name]: value };
  return role === "value" && layout[at].input.branches ? rebranched(node, changed, definition, layout) : changed;
}

/**
 * A node whose choice brings other inputs now: values that are called the same are kept, new ones begin with their defaults.
 * @param {Readonly<NodeRecord>} before
 * @param {NodeRecord} changed
 * @param {NodeDefinition} definition
 * @param {readonly WidgetEntry[]} old  layout
 * @returns {NodeRecord}
 */
function rebranched(before, changed, definition, old) {
  const held = changed.widgets_values;
  if (Array.isArray(held)) {
    changed.widgets_values = layoutFor({ ...changed, widgets_values: held }, definition).map((entry) => {
      const at = old.findIndex((each) => each.name === entry.name && each.role === entry.role);
      return at < 0 || at >= held.length || !fits(entry, held[at]) ? defaultValue(entry) : held[at];
    });
  }
  const there = new Set((before.inputs ?? []).map((slot) => slot.name));
  const sockets = inputsFor(changed, definition).filter((input) => !definition.inputs.includes(input)).flatMap(socketsFor).filter((slot) => !there.has(slot.name));
  return sockets.length ? { ...changed, inputs: [...(before.inputs ?? []), ...sockets] } : changed;
}

/** Whether a value is among the choices of an input that has some. @param {WidgetEntry} entry @param {unknown} value */
function fits({ role, input }, value) {
  return role !== "value" || !input.choices || input.choices.includes(value);
}

/**
 * A node whose definition is not known, with another value at a position (or a name, where values have names).
 * @param {Readonly<NodeRecord>} node
 * @param {number | string} at
 * @param {unknown} value
 * @returns {NodeRecord}
 */
export function withValueAt(node, at, value) {
  const held = node.widgets_values ?? [];
  if (!Array.isArray(held)) return { ...node, widgets_values: { ...held, [at]: value } };
  if (typeof at !== "number" || at < 0 || at > held.length) throw new Error(`Node ${node.id} has no value number ${at}.`);
  const values = [...held];
  values[at] = value;
  return { ...node, widgets_values: values };
}

/**
 * Values of old files as they are written today.
 * @param {WidgetEntry} entry
 * @param {unknown} value
 */
function modern(entry, value) {
  if (entry.name === "sampler_name" && typeof value === "string" && value.startsWith("sample_")) return value.slice("sample_".length);
  return value;
}
