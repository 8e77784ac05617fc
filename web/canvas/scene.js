// One graph as it lies on the canvas: where every node, socket and link is. Kept in step with the document, patch by patch.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../core/records.js";
import { faceOf } from "./face.js";
import { boundsOf, curvesThrough, distanceTo } from "./curves.js";
import { Grid } from "./grid.js";
import { inputPlace, layoutOf, outputPlace, LINE, SLOT, TITLE } from "./layout.js";
import { boundaryShape } from "./boundary.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */
/** @typedef {import("../core/records.js").SlotType} SlotType */
/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {import("../core/document.js").Change} Change */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("./grid.js").Bounds} Bounds */
/** @typedef {import("./curves.js").Curve} Curve */
/** @typedef {{id: Id, node: Readonly<NodeRecord>, face: import("./face.js").Face, shape: import("./layout.js").Shape, bounds: Bounds}} Item */
/** @typedef {{link: Readonly<LinkRecord>, curves: readonly Curve[], bounds: Bounds}} Wire */
/** @typedef {{node: Id, slot: number, type: SlotType, side: "input" | "output", x: number, y: number, widget: string | null}} SocketHit  slot -1: a widget without a socket yet */

const REACH = 9;

export class Scene {
  /** @type {Map<Id, Item>} */
  items = new Map();
  /** @type {Map<Id, Wire>} */
  wires = new Map();
  /** @type {Map<Id, Item>} the inputs and outputs of a subgraph, while one is on screen */
  boundary = new Map();
  #nodes = /** @type {Grid<Id>} */ (new Grid());
  #links = /** @type {Grid<Id>} */ (new Grid());
  /** @type {readonly Item[] | null} */
  #ordered = null;

  /**
   * @param {Document} document
   * @param {string} graph
   * @param {() => Definitions} definitions
   * @param {import("./layout.js").Measure} measure
   * @param {(id: Id) => boolean} showsMedia
   */
  constructor(document, graph, definitions, measure, showsMedia) {
    this.document = document;
    this.graph = graph;
    this.definitions = definitions;
    this.measure = measure;
    this.showsMedia = showsMedia;
    this.rebuild();
  }

  get view() {
    return this.document.graph(this.graph);
  }

  /** Take in everything anew (another set of definitions). */
  rebuild() {
    this.items.clear();
    this.wires.clear();
    this.boundary.clear();
    this.#nodes.clear();
    this.#links.clear();
    this.#ordered = null;
    for (const node of this.view.nodes.values()) this.#place(node);
    this.#placeBoundary();
    for (const link of this.view.links.values()) this.#string(link);
  }

  /**
   * Follow a change of the document.
   * @param {Change} change
   * @returns {Set<Id>} nodes that look different now
   */
  follow(change) {
    const nodes = new Set();
    const links = new Set();
    const elsewhere = new Set(change.patches.filter((patch) => patch.graph !== this.graph).map((patch) => patch.graph));
    // what goes on inside a subgraph may show on its instances: their name, sockets, promoted values
    if (elsewhere.size) for (const item of this.items.values()) if (elsewhere.has(item.node.type) || item.face.kind === "subgraph") nodes.add(item.id);
    for (const patch of change.patches) {
      if (patch.graph !== this.graph) continue;
      if (patch.table === "nodes") nodes.add(patch.id);
      else if (patch.table === "links") {
        links.add(patch.id);
        for (const side of /** @type {(LinkRecord | undefined)[]} */ ([patch.before, patch.after])) if (side) nodes.add(side.to).add(side.from);
      } else if (patch.table === "reroutes") for (const wire of this.view.links.values()) if (wire.parentId !== undefined) links.add(wire.id);
      if (patch.table === "graph" && boundaryMoved(patch)) {
        this.#placeBoundary();
        for (const link of this.view.links.values()) if (link.from === INPUT_BOUNDARY || link.to === OUTPUT_BOUNDARY) links.add(link.id);
      }
    }
    for (const id of nodes) {
      const node = this.view.nodes.get(id);
      if (node) this.#place(node);
      else this.#forget(id);
      if (node) for (const link of this.view.linked.of(id)) links.add(link.id);
    }
    for (const id of links) {
      const link = this.view.links.get(id);
      if (link) this.#string(link);
      else if (this.wires.delete(id)) this.#links.remove(id);
    }
    return nodes;
  }

  /** Measure one node again (it began to show a picture). @param {Id} id */
  refresh(id) {
    const node = this.view.nodes.get(id);
    if (!node) return;
    this.items.delete(id);
    this.#place(node);
    for (const link of this.view.linked.of(id)) this.#string(link);
  }

  /** Nodes and boundaries from the one below to the one on top. @returns {readonly Item[]} */
  get ordered() {
    this.#ordered ??= [...this.items.values()].sort((a, b) => a.node.rank$ - b.node.rank$);
    return this.#ordered;
  }

  /** @param {Id} id @returns {Item | undefined} */
  item(id) {
    return this.items.get(id) ?? this.boundary.get(id);
  }

  /** Nodes that touch a region, lowest first. @param {Bounds} region @returns {Item[]} */
  nodesIn(region) {
    const found = this.#nodes.touching(region);
    if (found.length > this.items.size / 2) {
      const wanted = new Set(found);
      return this.ordered.filter((item) => wanted.has(item.id));
    }
    return found.map((id) => /** @type {Item} */ (this.items.get(id))).sort((a, b) => a.node.rank$ - b.node.rank$);
  }

  /** @param {Bounds} region @returns {Wire[]} */
  wiresIn(region) {
    return this.#links.touching(region).map((id) => /** @type {Wire} */ (this.wires.get(id)));
  }

  /** A box around all nodes and groups, or around some. @param {Iterable<Id>} [ids] @returns {[number, number, number, number] | null} x, y, width, height */
  extent(ids) {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    /** @param {Bounds} bounds */
    const take = (bounds) => {
      left = Math.min(left, bounds[0]);
      top = Math.min(top, bounds[1]);
      right = Math.max(right, bounds[2]);
      bottom = Math.max(bottom, bounds[3]);
    };
    if (ids) {
      for (const id of ids) {
        const item = this.item(id);
        if (item) take(item.bounds);
      }
    } else {
      for (const item of [...this.items.values(), ...this.boundary.values()]) take(item.bounds);
      for (const { bounding: [x, y, w, h] } of this.view.groups.values()) take([x, y, x + w, y + h]);
    }
    return left <= right ? [left, top, right - left, bottom - top] : null;
  }

  /** The topmost node at a point. @param {number} x @param {number} y @returns {Item | null} */
  nodeAt(x, y) {
    for (const item of this.boundary.values()) if (holds(item.bounds, x, y)) return item;
    return this.nodesIn([x, y, x, y]).at(-1) ?? null;
  }

  /**
   * The socket near a point. Widgets count as sockets at their left end.
   * @param {number} x
   * @param {number} y
   * @param {number} [reach]  in graph units
   * @returns {SocketHit | null}
   */
  socketAt(x, y, reach = REACH) {
    const near = [...this.nodesIn([x - reach, y - reach, x + reach, y + reach]), ...this.boundary.values()].reverse();
    for (const item of near) {
      let nearest = null;
      let best = reach;
      for (const socket of socketsOf(item)) {
        const distance = Math.hypot(socket.x - x, socket.y - y);
        if (distance <= best) [nearest, best] = [socket, distance];
      }
      if (nearest) return nearest;
      if (holds(item.bounds, x, y)) return null;
    }
    return null;
  }

  /** The link near a point. @param {number} x @param {number} y @param {number} reach @returns {Wire | null} */
  wireAt(x, y, reach) {
    let nearest = null;
    let best = reach;
    for (const wire of this.wiresIn([x - reach, y - reach, x + reach, y + reach])) {
      for (const curve of wire.curves) {
        const distance = distanceTo(curve, x, y);
        if (distance < best) [nearest, best] = [wire, distance];
      }
    }
    return nearest;
  }

  /** @param {Readonly<NodeRecord>} node */
  #place(node) {
    const old = this.items.get(node.id);
    if (!old || old.node.rank$ !== node.rank$) this.#ordered = null;
    let face = old?.face;
    let shape = old?.shape;
    if (!face || !shape || !old || !onlyMoved(old.node, node)) {
      face = faceOf(this.document, this.view, node, this.definitions());
      shape = layoutOf(node, face, this.measure, this.showsMedia(node.id));
    }
    const [x, y] = node.pos;
    const bounds = /** @type {Bounds} */ ([x, y - shape.title, x + shape.width, y + shape.height]);
    if (old) Object.assign(old, { node, face, shape, bounds });
    else this.items.set(node.id, { id: node.id, node, face, shape, bounds });
    this.#nodes.put(node.id, bounds);
  }

  /** @param {Id} id */
  #forget(id) {
    if (!this.items.delete(id)) return;
    this.#nodes.remove(id);
    this.#ordered = null;
  }

  #placeBoundary() {
    const record = this.view.record;
    for (const id of [INPUT_BOUNDARY, OUTPUT_BOUNDARY]) {
      const item = boundaryShape(record, id);
      if (item) this.boundary.set(id, item);
    }
  }

  /** @param {Readonly<LinkRecord>} link */
  #string(link) {
    const from = this.item(link.from);
    const to = this.item(link.to);
    if (!from || !to) {
      if (this.wires.delete(link.id)) this.#links.remove(link.id);
      return;
    }
    const [ax, ay] = outputPlace(from.shape, link.fromSlot);
    const [bx, by] = inputPlace(to.face, to.shape, link.toSlot);
    const bends = link.parentId === undefined ? [] : this.view.reroutesOf(link).map(({ pos }) => /** @type {[number, number]} */ ([pos[0], pos[1]]));
    const curves = curvesThrough([[from.node.pos[0] + ax, from.node.pos[1] + ay], ...bends, [to.node.pos[0] + bx, to.node.pos[1] + by]]);
    const bounds = boundsOf(curves);
    this.wires.set(link.id, { link, curves, bounds });
    this.#links.put(link.id, bounds);
  }
}

/**
 * All sockets of a node, in graph units.
 * @param {Item} item
 * @returns {SocketHit[]}
 */
export function socketsOf({ id, node, face, shape }) {
  const [x, y] = node.pos;
  /** @type {SocketHit[]} */
  const sockets = [];
  face.outputs.forEach(({ index, type }, i) => sockets.push({ node: id, slot: index, type, side: "output", x: x + shape.outputs[i].x, y: y + shape.outputs[i].y, widget: null }));
  face.inputs.forEach(({ index, type }, i) => sockets.push({ node: id, slot: index, type, side: "input", x: x + shape.inputs[i].x, y: y + shape.inputs[i].y, widget: null }));
  shape.widgets.forEach((row, i) => {
    const widget = face.widgets[i];
    if (face.kind === "note" || face.kind === "primitive" || (face.kind === "ghost" && widget.socket < 0) || widget.input.options.socketless === true) return;
    const type = node.inputs?.[widget.socket]?.type ?? widget.input.type;
    sockets.push({ node: id, slot: widget.socket, type, side: "input", x, y: y + row.y + Math.min(row.height, LINE) / 2, widget: widget.name });
  });
  return sockets;
}

/** Whether two records of a node differ by nothing that shows but their place. @param {Readonly<NodeRecord>} a @param {Readonly<NodeRecord>} b */
function onlyMoved(a, b) {
  if (a === b) return false; // asked again although it is the same: something around it changed
  return (
    a.type === b.type && a.title === b.title && a.inputs === b.inputs && a.outputs === b.outputs && a.size === b.size && a.flags === b.flags &&
    a.widgets_values === b.widgets_values && a.widgets_values_named === b.widgets_values_named && a.properties === b.properties &&
    a.mode === b.mode && a.showAdvanced === b.showAdvanced && a.shape === b.shape && a.color === b.color && a.bgcolor === b.bgcolor
  );
}

/** @param {Bounds} bounds @param {number} x @param {number} y */
function holds(bounds, x, y) {
  return x >= bounds[0] && x <= bounds[2] && y >= bounds[1] && y <= bounds[3];
}

/** @param {import("../core/records.js").Patch} patch */
function boundaryMoved({ before, after }) {
  const [a, b] = /** @type {Record<string, unknown>[]} */ (/** @type {unknown} */ ([before ?? {}, after ?? {}]));
  return ["inputs", "outputs", "inputNode", "outputNode"].some((key) => a[key] !== b[key]);
}

export { SLOT, TITLE };
