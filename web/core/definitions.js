// What the server says about node types (/object_info), in one form whatever form it came in.

import { widgetLayout } from "./widgets.js";

/** @typedef {import("./records.js").SlotType} SlotType */
/** @typedef {import("./widgets.js").WidgetEntry} WidgetEntry */
/**
 * @typedef {object} InputDefinition
 * @property {string} name
 * @property {string} type  COMBO for both forms of a choice
 * @property {Readonly<Record<string, unknown>>} options
 * @property {readonly unknown[] | null} choices
 * @property {boolean} required
 * @property {boolean} widget  has a value of its own, not only a socket
 * @property {ReadonlyMap<string, readonly InputDefinition[]>} [branches]  of a choice: the inputs each of its values brings, called `<choice>.<name>`
 * @property {Growth} [grows]  no input itself, but a row of them that gets longer as it is linked
 */
/** @typedef {{names: readonly string[], least: number, type: SlotType}} Growth  `names`: of all there can be, `<input>.<name>` */
/** @typedef {{name: string, type: SlotType, isList: boolean, tooltip: string | null}} OutputDefinition */
/**
 * @typedef {object} NodeDefinition
 * @property {string} type
 * @property {string} title
 * @property {string} category
 * @property {string} description
 * @property {string} module
 * @property {readonly InputDefinition[]} inputs  required ones first
 * @property {readonly OutputDefinition[]} outputs
 * @property {readonly WidgetEntry[]} layout  what `widgets_values` of a node holds, position by position
 * @property {boolean} isOutput
 * @property {boolean} deprecated
 * @property {boolean} experimental
 */
/** @typedef {Readonly<Record<string, unknown>>} Json */

const VALUE_TYPES = new Set([
  "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "MARKDOWN", "TEXTAREA", "WEBCAM", "AUDIO_RECORD", "LOAD_3D", "LOAD_3D_ANIMATION",
  "IMAGEUPLOAD", "AUDIOUPLOAD", "FILEUPLOAD", "BOUNDING_BOX", "CURVE",
]);
/** A choice each of whose values brings inputs of its own. */
export const BRANCHES = "COMFY_DYNAMICCOMBO_V3";
const GROWS = "COMFY_AUTOGROW_V3";
const MOST_GROWN = 100;
// Old files use names that were changed since.
/** @type {Readonly<Record<string, string>>} */
const RENAMED = {
  T2IAdapterLoader: "ControlNetLoader",
  "ConditioningAverage ": "ConditioningAverage",
  SDV_img2vid_Conditioning: "SVD_img2vid_Conditioning",
};

export class Definitions {
  /** @type {Map<string, NodeDefinition | null>} */
  #parsed = new Map();
  #raw;
  #valueTypes;

  /**
   * @param {Readonly<Record<string, unknown>>} objectInfo  the answer of /object_info; entries are read when first asked for
   * @param {Iterable<string>} [moreValueTypes]  input types that packs registered a widget for
   */
  constructor(objectInfo = {}, moreValueTypes = []) {
    this.#raw = objectInfo;
    this.#valueTypes = new Set([...VALUE_TYPES, ...moreValueTypes]);
  }

  /** All node types. @returns {string[]} */
  get types() {
    return Object.keys(this.#raw);
  }

  /**
   * The definition of a node type, also by a name it had before.
   * @param {string} type
   * @returns {NodeDefinition | null} null when the server has no such node
   */
  get(type) {
    let definition = this.#parsed.get(type);
    if (definition === undefined) {
      const known = Object.hasOwn(this.#raw, type) ? type : RENAMED[type];
      definition = known !== undefined && Object.hasOwn(this.#raw, known) ? parseDefinition(known, this.#raw[known], this.#valueTypes) : null;
      this.#parsed.set(type, definition);
    }
    return definition;
  }
}

/**
 * @param {string} type
 * @param {unknown} raw
 * @param {ReadonlySet<string>} [valueTypes]
 * @returns {NodeDefinition | null} null when it is no definition
 */
export function parseDefinition(type, raw, valueTypes = VALUE_TYPES) {
  if (!isObject(raw)) return null;
  const inputs = [...section(raw, "required", valueTypes), ...section(raw, "optional", valueTypes)];
  return Object.freeze({
    type,
    title: text(raw.display_name) || text(raw.name) || type,
    category: text(raw.category),
    description: text(raw.description),
    module: text(raw.python_module),
    inputs,
    outputs: parseOutputs(raw),
    layout: widgetLayout(inputs),
    isOutput: raw.output_node === true,
    deprecated: raw.deprecated === true,
    experimental: raw.experimental === true,
  });
}

/**
 * @param {Json} raw
 * @param {"required" | "optional"} name
 * @param {ReadonlySet<string>} valueTypes
 * @returns {InputDefinition[]}
 */
function section(raw, name, valueTypes) {
  const all = isObject(raw.input) && isObject(raw.input[name]) ? raw.input[name] : {};
  const order = isObject(raw.input_order) && Array.isArray(raw.input_order[name]) ? raw.input_order[name] : [];
  const names = new Set([...order.filter((key) => typeof key === "string" && Object.hasOwn(all, key)), ...Object.keys(all)]);
  return [...names].map((key) => parseInput(key, all[key], name === "required", valueTypes));
}

/**
 * One input: `[type]`, `[type, options]`, `[[choices], options]` or `["COMBO", {options: choices}]`.
 * @param {string} name
 * @param {unknown} spec
 * @param {boolean} required
 * @param {ReadonlySet<string>} valueTypes
 * @returns {InputDefinition}
 */
function parseInput(name, spec, required, valueTypes) {
  const [declared, given] = Array.isArray(spec) ? spec : [spec, undefined];
  const options = isObject(given) ? given : {};
  const type = Array.isArray(declared) ? "COMBO" : String(declared);
  let choices = null;
  if (Array.isArray(declared)) choices = declared;
  else if (type === "COMBO") choices = Array.isArray(options.options) ? options.options : [];
  if (type === BRANCHES) {
    const branches = readBranches(name, options.options, valueTypes);
    return Object.freeze({ name, type, options, choices: [...branches.keys()], required, widget: true, branches });
  }
  const grows = type === GROWS ? readGrowth(name, options.template) : null;
  if (grows) return Object.freeze({ name, type, options, choices, required: false, widget: false, grows });
  const widget = options.forceInput !== true && valueTypes.has(typeof options.widgetType === "string" ? options.widgetType : type);
  return Object.freeze({ name, type, options, choices, required, widget });
}

/** @param {string} name @param {unknown} listed @param {ReadonlySet<string>} valueTypes @returns {Map<string, readonly InputDefinition[]>} */
function readBranches(name, listed, valueTypes) {
  /** @type {Map<string, readonly InputDefinition[]>} */
  const branches = new Map();
  for (const option of Array.isArray(listed) ? listed.filter(isObject) : []) {
    if (typeof option.key !== "string") continue;
    const groups = isObject(option.inputs) ? option.inputs : {};
    branches.set(option.key, Object.entries(groups).flatMap(([group, inputs]) => (isObject(inputs) ? Object.entries(inputs).map(([key, spec]) => parseInput(`${name}.${key}`, spec, group === "required", valueTypes)) : [])));
  }
  return branches;
}

/** @param {string} name @param {unknown} template @returns {Growth | null} */
function readGrowth(name, template) {
  if (!isObject(template)) return null;
  const groups = isObject(template.input) ? Object.values(template.input).filter(isObject) : [];
  const [spec] = groups.flatMap((group) => Object.values(group));
  const type = Array.isArray(spec) ? (Array.isArray(spec[0]) ? "COMBO" : String(spec[0])) : "*";
  const most = Math.min(MOST_GROWN, Number(template.max) || 10);
  const names = Array.isArray(template.names) ? template.names.filter((each) => typeof each === "string") : Array.from({ length: most }, (_, i) => `${text(template.prefix)}${i}`);
  return names.length ? { names: names.map((each) => `${name}.${each}`), least: Math.max(1, Math.min(names.length, Number(template.min) || 1)), type } : null;
}

/** @param {Json} raw @returns {OutputDefinition[]} */
function parseOutputs(raw) {
  const types = Array.isArray(raw.output) ? raw.output : [];
  const names = Array.isArray(raw.output_name) ? raw.output_name : [];
  const lists = Array.isArray(raw.output_is_list) ? raw.output_is_list : [];
  const tips = Array.isArray(raw.output_tooltips) ? raw.output_tooltips : [];
  return types.map((type, i) => ({
    name: text(names[i]) || (Array.isArray(type) ? "COMBO" : String(type)),
    type: Array.isArray(type) ? "COMBO" : type,
    isList: lists[i] === true,
    tooltip: text(tips[i]) || null,
  }));
}

/** @param {unknown} value @returns {value is Json} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}
