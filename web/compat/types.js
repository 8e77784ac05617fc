// The classes of node types, which scripts of node packs change by their prototypes, and the ones they bring themselves.

import { newNode } from "../core/new_node.js";
import { PackNode } from "./node.js";
import { ComfyWidgets, PackWidget } from "./widgets.js";

/** @typedef {import("../core/definitions.js").Definitions} Definitions */

export class NodeTypes {
  /** @type {Record<string, any>} */
  byName = {};
  /** Constructors of widgets by input type, from getCustomWidgets. @type {Record<string, any>} */
  widgets = {};
  /** What types of scripts alone look like to the editor. @type {Record<string, any>} */
  added = {};
  #definitions;

  /** @param {() => Definitions} definitions */
  constructor(definitions) {
    this.#definitions = definitions;
  }

  get definitions() {
    return this.#definitions();
  }

  /** The class of a type the server knows. @param {string} name @param {any} data  of /object_info; undefined for one it does not know */
  define(name, data) {
    const types = this;
    const Type = class extends PackNode {
      static types = types;
      static nodeData = data;
      static comfyClass = name;
      static title = data?.display_name || name;
      static category = data?.category ?? "";
      static type = name;
    };
    Object.defineProperty(Type, "name", { value: name });
    this.byName[name] = Type;
    return Type;
  }

  /** A type that lives in the editor only. @param {string} name @param {any} Type */
  register(name, Type) {
    Type.types = this;
    Type.type = name;
    Type.comfyClass ??= name;
    Type.title ||= name;
    Type.category ||= name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
    this.byName[name] = Type;
    if (!(Type.prototype instanceof PackNode)) return;
    if (!this.added[name] && !this.definitions.get(name)) {
      this.added[name] = { input: { required: {} }, input_order: { required: [] }, output: [], output_is_list: [], output_name: [], name, display_name: Type.title, description: Type.desc ?? "", category: Type.category || "scripts", python_module: "custom_nodes.script", output_node: false };
    }
  }

  /** @param {string} name */
  classOf(name) {
    return this.byName[name];
  }

  /** An unplaced node, to be added with `graph.add`. @param {string} name @param {string} [title] @returns {any} null when nobody knows the type */
  create(name, title) {
    const Type = this.classOf(name);
    if (!Type) return null;
    const node = new Type(title);
    if (Type.nodeData) {
      node.begin(newNode(-1, 0, name, this.definitions.get(name)));
      if (title) node.title = title;
      this.furnish(node);
      node.onNodeCreated?.();
    } else node.type = name;
    return node;
  }

  /** Give a node the widgets of its definition. @param {PackNode} node @param {any} [app] */
  furnish(node, app = /** @type {any} */ (globalThis).app) {
    const { definition } = node;
    if (!definition) return;
    const data = /** @type {any} */ (node.constructor).nodeData;
    for (const entry of definition.layout) {
      const { name, role, input } = entry;
      if (role === "upload" || role === "filter") continue;
      const custom = role === "value" ? this.widgets[input.type] : null;
      if (custom) {
        const before = node.widgets.length;
        const raw = data?.input?.required?.[name] ?? data?.input?.optional?.[name] ?? [input.type, input.options];
        const made = custom(node, name, raw, app)?.widget;
        if (made && node.widgets.length === before) node.widgets.push(made);
        for (const widget of node.widgets.slice(before)) if (widget === made || widget.name === name) Object.assign(widget, { entry, foreign: true });
        continue;
      }
      const options = { ...input.options, ...(input.choices ? { values: [...input.choices] } : {}) };
      node.widgets.push(
        role === "control"
          ? PackWidget.create(node, { name: "control_after_generate", type: "combo", options: { values: ["fixed", "increment", "decrement", "randomize"], serialize: false }, entry })
          : PackWidget.create(node, { name, type: KINDS[input.type]?.(input.options) ?? String(input.type).toLowerCase(), options, entry }),
      );
    }
    for (const widget of node.widgets) if (widget.entry?.role === "control") node.widgets.find((/** @type {any} */ each) => each.name === widget.entry.name).linkedWidgets = [widget];
  }
}

/** What widgets of plain inputs are called. @type {Readonly<Record<string, (options: any) => string>>} */
const KINDS = {
  INT: () => "number",
  FLOAT: () => "number",
  BOOLEAN: () => "toggle",
  COMBO: () => "combo",
  STRING: ({ multiline }) => (multiline ? "customtext" : "text"),
};

export { ComfyWidgets };
