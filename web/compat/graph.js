// One graph of a workflow as scripts of node packs know it: `app.graph`, with its nodes and links. All of it is read from the document.

import { addNode, removeNodes } from "../core/commands/nodes.js";
import { ranked } from "../core/graphview.js";
import { ROOT } from "../core/records.js";
import { inputPlace, outputPlace } from "../canvas/layout.js";
import { writeWorkflow } from "../format/workflow.js";
import { live } from "./live.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("./host.js").Host} Host */
/** @typedef {import("./node.js").PackNode} PackNode */

export class PackGraph {
  /** @type {Map<Id, any>} */
  byId = new Map();
  /** Whether its nodes have been made; before that nothing they do is kept. */
  ready = false;
  #shown;

  /** @param {Host} host @param {string} name */
  constructor(host, name) {
    this.host = host;
    this.name = name;
    /** @type {any} */
    this.config = {};
    this.#shown = new Set();
  }

  get document() {
    return this.host.session.document;
  }

  /** @returns {any} */
  get view() {
    return this.document.hasGraph(this.name) ? this.document.graph(this.name) : null;
  }

  get isRootGraph() {
    return this.name === ROOT;
  }

  get rootGraph() {
    return this.host.graph(ROOT);
  }

  /** @param {string} label @param {(tx: any) => void} change */
  edit(label, change) {
    if (!this.view) return;
    this.within(() => this.document.edit(label, change, { amend: this.host.amends }));
  }

  /** Do something whose changes are known to come from a script. @template T @param {() => T} run @returns {T} */
  within(run) {
    return this.host.asScript(run);
  }

  // ---- nodes

  /** @returns {any[]} */
  get _nodes() {
    return this.view ? ranked(this.view.nodes).flatMap((/** @type {any} */ { id }) => this.byId.get(id) ?? []) : [];
  }

  get nodes() {
    return this._nodes;
  }

  get _nodes_in_order() {
    return this._nodes;
  }

  computeExecutionOrder() {
    return this._nodes;
  }

  /** @returns {Record<string, any>} */
  get _nodes_by_id() {
    return Object.fromEntries(this._nodes.map((node) => [node.id, node]));
  }

  /** @param {any} id @returns {any} */
  getNodeById(id) {
    return this.byId.get(id) ?? this.byId.get(Number(id)) ?? this.byId.get(String(id)) ?? null;
  }

  /** @param {string} type */
  findNodesByType(type) {
    return this._nodes.filter((node) => node.type === type);
  }

  /** @param {any} Type */
  findNodesByClass(Type) {
    return this._nodes.filter((node) => node.constructor === Type);
  }

  /** @param {string} title */
  findNodesByTitle(title) {
    return this._nodes.filter((node) => node.title === title);
  }

  /** @param {string} title */
  findNodeByTitle(title) {
    return this.findNodesByTitle(title)[0] ?? null;
  }

  /** @param {number} x @param {number} y */
  getNodeOnPos(x, y) {
    return this._nodes.findLast((node) => node.isPointInside(x, y)) ?? null;
  }

  /** @param {any} node  made by LiteGraph.createNode */
  add(node) {
    if (!node?.record) return null;
    const { id: _id, rank$: _rank, type, ...more } = node.record;
    this.host.adopting = node;
    try {
      const id = this.within(() => addNode(this.document, this.name, type, node.definition, more));
      return this.byId.get(id) ?? node;
    } finally {
      this.host.adopting = null;
    }
  }

  /** @param {any} node */
  remove(node) {
    if (this.byId.get(node?.id) === node) this.within(() => removeNodes(this.document, this.name, [node.id]));
  }

  clear() {
    this.within(() => removeNodes(this.document, this.name, [...this.view.nodes.keys()]));
  }

  // ---- links

  /** By id, as a map and as an object: both are in use. @returns {any} */
  get links() {
    const { view } = this;
    const shaped = (/** @type {any} */ link) => link && { id: link.id, type: link.type, origin_id: link.from, origin_slot: link.fromSlot, target_id: link.to, target_slot: link.toSlot };
    const get = (/** @type {any} */ id) => shaped(view?.links.get(id) ?? view?.links.get(Number(id)));
    const all = () => new Map([...(view?.links ?? [])].map(([id, link]) => [id, shaped(link)]));
    /** @type {any} */
    const methods = { get, has: (/** @type {any} */ id) => Boolean(get(id)), keys: () => all().keys(), values: () => all().values(), entries: () => all().entries(), forEach: (/** @type {any} */ run) => all().forEach(run), [Symbol.iterator]: () => all()[Symbol.iterator]() };
    return new Proxy({}, {
      get: (_, key) => (key === "size" ? all().size : key in methods ? methods[key] : typeof key === "string" ? get(key) : undefined),
      has: (_, key) => typeof key === "string" && (key in methods || Boolean(get(key))),
      ownKeys: () => [...all().keys()].map(String),
      getOwnPropertyDescriptor: (_, key) => ({ enumerable: true, configurable: true, value: get(key) }),
    });
  }

  get _links() {
    return this.links;
  }

  /** @param {any} id */
  getLink(id) {
    return this.links.get(id);
  }

  /** @param {any} id */
  removeLink(id) {
    const link = this.links.get(id);
    if (link) this.getNodeById(link.target_id)?.disconnectInput(link.target_slot);
  }

  /** @param {Id} id @param {boolean} isInput @param {number} slot @returns {[number, number] | null} */
  socketPlace(id, isInput, slot) {
    const item = this.host.stageOf(this)?.scene.items.get(id);
    if (!item) return null;
    const [x, y] = isInput ? inputPlace(item.face, item.shape, slot) : outputPlace(item.shape, slot);
    return [item.node.pos[0] + x, item.node.pos[1] + y];
  }

  /** @param {Id} id */
  shapeOf(id) {
    return this.host.stageOf(this)?.scene.items.get(id)?.shape ?? null;
  }

  // ---- the rest

  get _groups() {
    return this.view ? ranked(this.view.groups).map((/** @type {any} */ group) => ({ title: group.title, color: group.color, bounding: [...group.bounding], pos: group.bounding.slice(0, 2), size: group.bounding.slice(2), _nodes: [] })) : [];
  }

  get groups() {
    return this._groups;
  }

  get extra() {
    const { record } = this.view;
    return live(record.extra ?? {}, (extra) => this.edit("Change", (tx) => tx.put(this.name, "graph", { ...this.view.record, extra })));
  }

  set extra(extra) {
    this.edit("Change", (tx) => tx.put(this.name, "graph", { ...this.view.record, extra: JSON.parse(JSON.stringify(extra)) }));
  }

  get last_node_id() {
    return Math.max(0, ...[...this.byId.keys()].map(Number).filter(Number.isFinite));
  }

  get _version() {
    return this.document.revision;
  }

  get list_of_graphcanvas() {
    return [this.host.app.canvas];
  }

  serialize() {
    this.host.keep();
    return writeWorkflow(this.document);
  }

  asSerialisable() {
    return this.serialize();
  }

  /** A node shows something else; those on screen are looked at again, together. @param {PackNode} node */
  look(node) {
    if (!this.ready) return;
    if (!this.#shown.size) queueMicrotask(() => this.#lookNow());
    this.#shown.add(node.id);
  }

  #lookNow() {
    const ids = this.#shown;
    this.#shown = new Set();
    const stage = this.host.stageOf(this);
    for (const id of ids) stage?.remeasure(id);
  }

  setDirtyCanvas() {
    for (const node of this.byId.values()) if (node.onDrawForeground || node.onDrawBackground) this.look(node);
  }

  change() {
    this.setDirtyCanvas();
  }

  beforeChange() {}
  afterChange() {}
  arrange() {
    this.host.app.actions.run("graph.tidy");
  }
  updateExecutionOrder() {}
  checkConsistency() {}
  start() {}
  stop() {}
}
