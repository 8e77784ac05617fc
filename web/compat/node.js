// A node as scripts of node packs know it. It holds nothing of the node itself: what is read comes from the document, what is written is an edit.

import { connect, disconnectInput, disconnectOutput, removeSocket } from "../core/commands/links.js";
import { TITLE } from "../canvas/layout.js";
import { NODE_COLORS } from "./litegraph.js";
import { live } from "./live.js";
import { PackWidget, isHidden } from "./widgets.js";

/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("./graph.js").PackGraph} PackGraph */

const HOME = Symbol("where the node lives");
const LIVE = Symbol("values handed out");
const LIST = Symbol("widgets");
const SLOTS = Symbol("sockets");
/** Keys of a record that scripts change by other ways than `onSerialize`. */
const OWN_KEYS = new Set(["id", "type", "pos", "size", "flags", "mode", "order", "inputs", "outputs", "title", "color", "bgcolor"]);
/** @type {Readonly<NodeRecord>} */
const EMPTY = Object.freeze({ id: -1, rank$: 0, type: "", pos: /** @type {const} */ ([0, 0]), size: /** @type {const} */ ([210, 60]) });

/** Where a node is before it is added to a graph. */
class Draft {
  /** @param {Partial<NodeRecord>} [record] */
  constructor(record = {}) {
    /** @type {any} */
    this.record = { ...EMPTY, flags: {}, mode: 0, inputs: [], outputs: [], properties: {}, ...record };
    this.graph = null;
    this.id = -1;
  }
}

export class PackNode {
  static title = "";
  static category = "";
  /** Of the type: what /object_info says. @type {any} */
  static nodeData = undefined;

  /** @param {string} [title] */
  constructor(title) {
    /** @type {any} */ (this)[HOME] = new Draft(title ? { title } : {});
    /** @type {any} */ (this)[LIVE] = new Map();
    /** @type {any} */ (this)[SLOTS] = { inputs: /** @type {any[]} */ ([]), outputs: /** @type {any[]} */ ([]) };
    /** @type {any} */ (this)[LIST] = listOf(this);
    /** @type {any} pictures of its last run */
    this.imgs = undefined;
    /** @type {number | null} */
    this.imageIndex = null;
    this.serialize_widgets = true;
    this.isVirtualNode = false;
    /** @type {any} */
    this.badges = [];
  }

  /** @returns {Readonly<NodeRecord>} as it is now; after removal as it was last */
  get record() {
    const home = /** @type {any} */ (this)[HOME];
    if (!home) return EMPTY;
    if (home.graph) home.record = home.graph.view?.nodes.get(home.id) ?? home.record;
    return home.record;
  }

  /** @returns {PackGraph | null} */
  get graph() {
    return /** @type {any} */ (this)[HOME]?.graph ?? null;
  }

  /** @returns {import("../core/definitions.js").NodeDefinition | null} */
  get definition() {
    const types = /** @type {any} */ (this.constructor).types;
    return types?.definitions.get(this.type || /** @type {any} */ (this.constructor).comfyClass || "") ?? null;
  }

  /** From now on this is a node of the graph. @param {PackGraph} graph @param {import("../core/records.js").Id} id */
  moveIn(graph, id) {
    /** @type {any} */ (this)[HOME] = { graph, id, record: graph.view.node(id) };
    /** @type {any} */ (this)[LIVE].clear();
  }

  /** The values of an unplaced node. @param {Partial<NodeRecord>} record */
  begin(record) {
    /** @type {any} */ (this)[HOME] = new Draft(record);
  }

  /**
   * Every writing goes through here.
   * @param {string} label
   * @param {(record: any) => any} next  the record as it is to be
   */
  change(label, next) {
    const home = /** @type {any} */ (this)[HOME];
    if (!home) return;
    if (!home.graph) {
      home.record = next(home.record);
      return;
    }
    home.graph.edit(label, (/** @type {import("../core/document.js").Transaction} */ tx) => {
      const now = home.graph.view.nodes.get(home.id);
      if (now) tx.put(home.graph.name, "nodes", next(now));
    });
  }

  /** Show the node again: its widgets or drawing have changed. */
  look() {
    this.graph?.look(this);
  }

  // ---- what it is

  get id() {
    return /** @type {any} */ (this)[HOME]?.id ?? -1;
  }

  set id(_id) {}

  get type() {
    return this.record.type || /** @type {any} */ (this.constructor).comfyClass || "";
  }

  set type(type) {
    const home = /** @type {any} */ (this)[HOME];
    if (home && !home.graph) home.record = { ...home.record, type };
  }

  get comfyClass() {
    return /** @type {any} */ (this.constructor).comfyClass ?? this.type;
  }

  get title() {
    return this.record.title ?? (/** @type {any} */ (this.constructor).title || this.definition?.title || this.type);
  }

  set title(title) {
    if (title !== this.title) this.change("Rename", (record) => ({ ...record, title: String(title) }));
  }

  getTitle() {
    return this.title;
  }

  get mode() {
    return this.record.mode ?? 0;
  }

  set mode(mode) {
    if (mode !== this.mode) this.change(mode === 0 ? "Enable" : "Mute", (record) => ({ ...record, mode }));
  }

  /** @param {number} mode */
  changeMode(mode) {
    this.mode = mode;
    return true;
  }

  get color() {
    return this.record.color;
  }

  set color(color) {
    this.change("Colour", ({ color: _old, ...record }) => (color ? { ...record, color } : record));
  }

  get bgcolor() {
    return this.record.bgcolor;
  }

  set bgcolor(bgcolor) {
    this.change("Colour", ({ bgcolor: _old, ...record }) => (bgcolor ? { ...record, bgcolor } : record));
  }

  /** @param {{color?: string, bgcolor?: string} | null} option */
  setColorOption(option) {
    this.color = option?.color;
    this.bgcolor = option?.bgcolor;
  }

  getColorOption() {
    return Object.values(NODE_COLORS).find(({ bgcolor }) => bgcolor === this.bgcolor) ?? null;
  }

  // ---- place and size, flags, properties

  get pos() {
    return handed(this, "pos", this.record.pos ?? [0, 0]);
  }

  set pos(pos) {
    this.change("Move", (record) => ({ ...record, pos: [Number(pos[0]) || 0, Number(pos[1]) || 0] }));
  }

  get size() {
    return handed(this, "size", this.record.size ?? [210, 60]);
  }

  set size(size) {
    this.setSize(size);
  }

  /** @param {ArrayLike<number>} size */
  setSize(size) {
    const [width, height] = [Math.max(10, Number(size[0]) || 0), Math.max(10, Number(size[1]) || 0)];
    if (this.record.size?.[0] === width && this.record.size?.[1] === height) return;
    this.change("Resize", (record) => ({ ...record, size: [width, height] }));
    /** @type {any} */ (this).onResize?.(this.size);
  }

  /** The least that holds everything. @returns {[number, number]} */
  computeSize() {
    const shape = this.graph?.shapeOf(this.id);
    if (shape) return [Math.max(shape.smallest[0], 200), shape.smallest[1]];
    const rows = Math.max(this.record.inputs?.filter((slot) => !slot.widget).length ?? 0, this.record.outputs?.length ?? 0);
    return [210, 12 + rows * 20 + this.widgets.filter((/** @type {any} */ each) => !isHidden(each, 210)).length * 24];
  }

  get width() {
    return this.size[0];
  }

  get height() {
    return this.size[1];
  }

  getBounding() {
    return [this.pos[0], this.pos[1] - TITLE, this.size[0], this.size[1] + TITLE];
  }

  get boundingRect() {
    return this.getBounding();
  }

  get flags() {
    return handed(this, "flags", this.record.flags ?? {});
  }

  set flags(flags) {
    this.change("Change", (record) => ({ ...record, flags: { ...flags } }));
  }

  collapse() {
    this.flags.collapsed = !this.flags.collapsed;
  }

  get collapsed() {
    return Boolean(this.flags.collapsed);
  }

  get properties() {
    return handed(this, "properties", this.record.properties ?? {});
  }

  set properties(properties) {
    this.change("Change properties", (record) => ({ ...record, properties: JSON.parse(JSON.stringify(properties ?? {})) }));
  }

  /** @param {string} name @param {unknown} value */
  setProperty(name, value) {
    const before = this.properties[name];
    if (before === value) return;
    this.properties[name] = value;
    /** @type {any} */ (this).onPropertyChanged?.(name, value, before);
  }

  /** @param {string} name @param {unknown} value */
  addProperty(name, value) {
    if (!(name in this.properties)) this.properties[name] = value;
    return { name, default_value: value };
  }

  // ---- sockets and links

  get inputs() {
    return socketsOf(this, "inputs");
  }

  set inputs(inputs) {
    this.change("Change sockets", (record) => ({ ...record, inputs: inputs.map(plainSlot) }));
  }

  get outputs() {
    return socketsOf(this, "outputs");
  }

  set outputs(outputs) {
    this.change("Change sockets", (record) => ({ ...record, outputs: outputs.map(plainSlot) }));
  }

  /** @param {string} name @param {any} type @param {any} [more] */
  addInput(name, type, more = {}) {
    this.change("Add socket", (record) => ({ ...record, inputs: [...(record.inputs ?? []), { name, type: type ?? "*", ...plainSlot(more) }] }));
    return this.inputs.at(-1);
  }

  /** @param {string} name @param {any} type @param {any} [more] */
  addOutput(name, type, more = {}) {
    this.change("Add socket", (record) => ({ ...record, outputs: [...(record.outputs ?? []), { name, type: type ?? "*", ...plainSlot(more) }] }));
    return this.outputs.at(-1);
  }

  /** @param {number} slot */
  removeInput(slot) {
    this.#removeSlot("inputs", slot);
  }

  /** @param {number} slot */
  removeOutput(slot) {
    this.#removeSlot("outputs", slot);
  }

  /** @param {"inputs" | "outputs"} side @param {number} slot */
  #removeSlot(side, slot) {
    const { graph } = this;
    if (!(slot in (this.record[side] ?? []))) return;
    if (graph) graph.within(() => removeSocket(graph.document, graph.name, this.id, side, slot));
    else this.change("Remove socket", (record) => ({ ...record, [side]: record[side].filter((/** @type {unknown} */ _, /** @type {number} */ i) => i !== slot) }));
  }

  /** @param {string} name */
  findInputSlot(name, asObject = false) {
    const at = (this.record.inputs ?? []).findIndex((slot) => slot.name === name);
    return asObject ? this.inputs[at] : at;
  }

  /** @param {string} name */
  findOutputSlot(name, asObject = false) {
    const at = (this.record.outputs ?? []).findIndex((slot) => slot.name === name);
    return asObject ? this.outputs[at] : at;
  }

  /** @param {number} slot */
  getInputInfo(slot) {
    return this.inputs[slot] ?? null;
  }

  /** @param {number} slot */
  getInputLink(slot) {
    const link = this.graph?.view.linked.input(this.id, slot);
    return link ? (this.graph?.links.get(link.id) ?? null) : null;
  }

  /** @param {number} slot @returns {any} */
  getInputNode(slot) {
    const link = this.graph?.view.linked.input(this.id, slot);
    return link ? (this.graph?.getNodeById(link.from) ?? null) : null;
  }

  /** @param {number} slot @returns {any[] | null} */
  getOutputNodes(slot) {
    const { graph } = this;
    const found = graph?.view.linked.output(this.id, slot).flatMap((/** @type {import("../core/records.js").LinkRecord} */ link) => graph.getNodeById(link.to) ?? []) ?? [];
    return found.length ? found : null;
  }

  /** @param {number} slot */
  isInputConnected(slot) {
    return Boolean(this.graph?.view.linked.input(this.id, slot));
  }

  /** @param {number} slot */
  isOutputConnected(slot) {
    return (this.graph?.view.linked.output(this.id, slot).length ?? 0) > 0;
  }

  /** @param {number | string} slot @param {PackNode | number | string} target @param {number | string} targetSlot @returns {any} the link, or null when it cannot be */
  connect(slot, target, targetSlot) {
    const { graph } = this;
    const other = target instanceof PackNode ? target : graph?.getNodeById(target);
    if (!graph || !other) return null;
    const from = typeof slot === "string" ? Number(this.findOutputSlot(slot)) : slot;
    const to = typeof targetSlot === "string" ? Number(other.findInputSlot(targetSlot)) : targetSlot;
    try {
      const id = graph.within(() => connect(graph.document, graph.name, { node: this.id, slot: from }, { node: other.id, slot: to }));
      return graph.links.get(id) ?? null;
    } catch {
      return null; // the types do not fit, as scripts expect to be told
    }
  }

  /** @param {number | string} slot */
  disconnectInput(slot) {
    const { graph } = this;
    const at = typeof slot === "string" ? Number(this.findInputSlot(slot)) : slot;
    if (!graph || !this.isInputConnected(at)) return false;
    graph.within(() => disconnectInput(graph.document, graph.name, { node: this.id, slot: at }));
    return true;
  }

  /** @param {number | string} slot @param {PackNode} [_target] */
  disconnectOutput(slot, _target) {
    const { graph } = this;
    const at = typeof slot === "string" ? Number(this.findOutputSlot(slot)) : slot;
    if (!graph || !this.isOutputConnected(at)) return false;
    graph.within(() => disconnectOutput(graph.document, graph.name, { node: this.id, slot: at }));
    return true;
  }

  /** Where a socket is on the graph. @param {boolean} isInput @param {number} slot @param {number[]} [out] */
  getConnectionPos(isInput, slot, out = [0, 0]) {
    const [x, y] = this.graph?.socketPlace(this.id, isInput, slot) ?? [0, 0];
    out[0] = x;
    out[1] = y;
    return out;
  }

  // ---- widgets

  get widgets() {
    return /** @type {any} */ (this)[LIST] ?? [];
  }

  set widgets(widgets) {
    const list = /** @type {any} */ (this)[LIST];
    if (!list || widgets === list) return;
    list.length = 0;
    list.push(...(widgets ?? []));
  }

  get widgets_values() {
    return this.record.widgets_values;
  }

  set widgets_values(values) {
    this.change("Change values", (record) => ({ ...record, widgets_values: JSON.parse(JSON.stringify(values ?? [])) }));
  }

  /**
   * @param {string} type  number, slider, combo, text, toggle, button or a name of the script's own
   * @param {string} name
   * @param {any} value
   * @param {any} [callback]  a function, or the name of a property that follows the value
   * @param {any} [options]
   * @returns {any}
   */
  addWidget(type, name, value, callback, options = {}) {
    const settings = typeof callback === "object" && callback !== null ? callback : options;
    const property = typeof callback === "string" ? callback : settings?.property;
    const run = typeof callback === "function" ? callback : property ? (/** @type {unknown} */ next) => this.setProperty(property, next) : undefined;
    return this.addCustomWidget(PackWidget.create(this, { name, type: String(type).toLowerCase() === "string" ? "text" : type, value: property && property in this.properties ? this.properties[property] : value, options: settings ?? {}, callback: run }));
  }

  /** @param {any} widget  of the script's own making: {name, type, draw, mouse, computeSize, value} @returns {any} */
  addCustomWidget(widget) {
    widget.options ??= {};
    if (!(widget instanceof PackWidget)) {
      try {
        widget.node ??= this;
      } catch {
        // some make it a getter
      }
    }
    this.widgets.push(widget);
    return widget;
  }

  /** @param {string} name @param {string} type @param {HTMLElement} element @param {any} [options] @returns {any} */
  addDOMWidget(name, type, element, options = {}) {
    const widget = PackWidget.create(this, { name, type, value: undefined, options, callback: options.callback });
    widget.field = element;
    Object.defineProperty(widget, "isDOM", { value: true, enumerable: false });
    if (options.serialize === false) widget.serialize = false;
    const keep = () => this.keepExtras();
    for (const event of ["input", "change"]) element.addEventListener(event, keep);
    return this.addCustomWidget(widget);
  }

  /** @param {any} widget */
  removeWidget(widget) {
    const at = this.widgets.indexOf(widget);
    if (at < 0) return;
    widget.onRemove?.();
    this.widgets.splice(at, 1);
  }

  /** @param {any} widget */
  ensureWidgetRemoved(widget) {
    this.removeWidget(widget);
  }

  /** Widgets whose values the scripts hold and the workflow keeps, with their places in `widgets_values`. @returns {[number, any][]} */
  get extras() {
    const layout = this.definition?.layout ?? [];
    let next = layout.length;
    return this.widgets.flatMap((/** @type {any} */ each) => {
      if (each.serialize === false || each.type === "button") return [];
      if (each.entry && !each.foreign) return [];
      return [[each.entry ? layout.indexOf(each.entry) : next++, each]];
    });
  }

  /** Put the values of the scripts' own widgets into the document. */
  keepExtras() {
    const { extras } = this;
    const held = this.record.widgets_values;
    if (!this.graph?.ready || (held && !Array.isArray(held)) || !extras.length) return;
    const values = /** @type {unknown[]} */ ([...(held ?? [])]);
    for (const [at, each] of extras) {
      while (values.length < at) values.push(null);
      values[at] = plainValue(each.value);
    }
    if (JSON.stringify(values) !== JSON.stringify(held ?? [])) this.change("Change values", (record) => ({ ...record, widgets_values: values }));
  }

  /** Read them back from the document. */
  readExtras() {
    const held = this.record.widgets_values;
    if (!Array.isArray(held)) return;
    for (const [at, each] of this.extras) {
      if (held[at] === undefined || held[at] === null || JSON.stringify(held[at]) === JSON.stringify(plainValue(each.value))) continue;
      each.value = held[at];
    }
  }

  // ---- files

  serialize() {
    const { rank$: _rank, ...record } = this.record;
    const data = JSON.parse(JSON.stringify(record));
    for (const [side, key] of /** @type {const} */ ([["inputs", "link"], ["outputs", "links"]])) data[side] = this[side].map((/** @type {any} */ slot) => ({ ...plainSlot(slot), [key]: slot[key] }));
    /** @type {any} */ (this).onSerialize?.(data);
    return data;
  }

  /** What a script adds to the file by `onSerialize` becomes part of the node. */
  keepSerialized() {
    const data = this.serialize();
    const record = /** @type {any} */ (this.record);
    const added = Object.entries(data).filter(([key, value]) => !OWN_KEYS.has(key) && JSON.stringify(value) !== JSON.stringify(record[key]));
    if (added.length) this.change("Change", (now) => ({ ...now, ...Object.fromEntries(added) }));
  }

  /** @param {any} data */
  configure(data) {
    const { id: _id, pos, size, ...rest } = data ?? {};
    for (const key of ["title", "mode", "flags", "properties", "color", "bgcolor", "widgets_values"]) if (rest[key] !== undefined) /** @type {any} */ (this)[key] = rest[key];
    if (pos) this.pos = pos;
    if (size) this.setSize(size);
    this.readExtras();
    /** @type {any} */ (this).onConfigure?.(data);
  }

  /** @returns {any} */
  clone() {
    const copy = /** @type {any} */ (this.constructor).types.create(this.type);
    copy?.configure(this.serialize());
    return copy;
  }

  // ---- drawing and asking for attention

  /** @param {boolean} [_foreground] @param {boolean} [_background] */
  setDirtyCanvas(_foreground, _background) {
    this.look();
  }

  captureInput() {}
  loadImage() {}
  trace() {}

  /** @param {any} [_options] */
  getExtraMenuOptions(_options) {}

  /** @param {number} x @param {number} y */
  isPointInside(x, y) {
    const [left, top, width, height] = this.getBounding();
    return x >= left && x <= left + width && y >= top && y <= top + height;
  }

  /** @param {number} x @param {number} y */
  isOver(x, y) {
    return this.isPointInside(x, y);
  }
}

/** The list `node.widgets`: changing it changes what the node shows. @param {PackNode} node */
function listOf(node) {
  return new Proxy(/** @type {any[]} */ ([]), {
    set(list, key, value) {
      /** @type {any} */ (list)[key] = value;
      node.look();
      return true;
    },
    deleteProperty(list, key) {
      delete /** @type {any} */ (list)[key];
      node.look();
      return true;
    },
  });
}

/** One value of the record to read and to write into. @param {PackNode} node @param {"pos" | "size" | "flags" | "properties"} key @param {any} value @returns {any} */
function handed(node, key, value) {
  const known = /** @type {any} */ (node)[LIVE];
  if (!known) return value;
  const before = known.get(key);
  if (before && before.of === node.record[key]) return before.proxy;
  const entry = { of: node.record[key], proxy: null };
  entry.proxy = live(value, (next) => {
    node.change(`Change ${key}`, (record) => ({ ...record, [key]: next }));
    entry.of = node.record[key]; // what was handed out stays good after its own writing
  });
  known.set(key, entry);
  return entry.proxy;
}

/** The sockets of a side as objects that stay the same as long as the socket is there. @param {PackNode} node @param {"inputs" | "outputs"} side @returns {any[]} */
function socketsOf(node, side) {
  const held = /** @type {any} */ (node)[SLOTS];
  if (!held) return [];
  const there = node.record[side] ?? [];
  const list = held[side];
  while (list.length > there.length) list.pop();
  while (list.length < there.length) list.push(slotOf(node, side, list.length));
  return list;
}

/** @param {PackNode} node @param {"inputs" | "outputs"} side @param {number} at */
function slotOf(node, side, at) {
  const record = () => /** @type {any} */ (node.record[side]?.[at] ?? {});
  return new Proxy(/** @type {any} */ ({}), {
    get(own, key) {
      if (key === "link") return node.graph?.view.linked.input(node.id, at)?.id ?? null;
      if (key === "links") {
        const links = node.graph?.view.linked.output(node.id, at).map((/** @type {import("../core/records.js").LinkRecord} */ link) => link.id) ?? [];
        return links.length ? links : null;
      }
      if (key === "slot_index") return at;
      if (key === "pos") return own.pos;
      return key in record() ? record()[key] : own[key];
    },
    set(own, key, value) {
      if (key === "link" || key === "links" || typeof key === "symbol" || typeof value === "function" || key === "pos") {
        if (key !== "link" && key !== "links") own[key] = value;
        return true;
      }
      if (record()[key] === value) return true;
      node.change("Change socket", (now) => ({ ...now, [side]: now[side].map((/** @type {any} */ slot, /** @type {number} */ i) => (i === at ? { ...slot, [key]: plainValue(value) } : slot)) }));
      return true;
    },
    has: (own, key) => key === (side === "inputs" ? "link" : "links") || key in record() || key in own,
    ownKeys: () => [...new Set([...Object.keys(record()), side === "inputs" ? "link" : "links"])],
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    deleteProperty(_own, key) {
      node.change("Change socket", (now) => ({ ...now, [side]: now[side].map((/** @type {any} */ slot, /** @type {number} */ i) => (i === at ? Object.fromEntries(Object.entries(slot).filter(([name]) => name !== key)) : slot)) }));
      return true;
    },
  });
}

/** A socket without its links, which are kept elsewhere. @param {any} slot */
function plainSlot(slot) {
  const { link: _link, links: _links, slot_index: _index, pos: _pos, ...rest } = { ...slot };
  return JSON.parse(JSON.stringify(rest));
}

/** @param {any} value */
function plainValue(value) {
  if (value === undefined) return null;
  try {
    return JSON.parse(JSON.stringify(value));
  } catch {
    return null;
  }
}
