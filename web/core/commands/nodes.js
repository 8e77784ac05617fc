// What can be done to nodes. Every function is one step of the history; called inside `document.edit` they are parts of one step.

import { newNode } from "../new_node.js";
import { withValueAt, withWidget } from "../widgets.js";
import { nextId } from "./ids.js";
import { dropLinks } from "./links.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").Point} Point */
/** @typedef {import("../records.js").NodeRecord} NodeRecord */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {import("../document.js").EditOptions} EditOptions */
/** @typedef {import("../definitions.js").NodeDefinition} NodeDefinition */

const SMALLEST = 10;

/**
 * @param {Document} document
 * @param {string} graph
 * @param {string} type
 * @param {NodeDefinition | null} definition  null: a node nobody knows, or one of the editor alone
 * @param {Partial<Omit<NodeRecord, "id" | "rank$" | "type">>} [more]  place, title, sockets ...
 * @returns {Id} of the new node, which lies on top
 */
export function addNode(document, graph, type, definition, more = {}) {
  return document.edit("Add node", (tx) => {
    const id = nextId(document, tx, graph, "nodes");
    tx.put(graph, "nodes", { ...newNode(id, document.nextRank(), type, definition), ...more });
    return id;
  });
}

/**
 * Remove nodes with all their links.
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids
 */
export function removeNodes(document, graph, ids) {
  document.edit("Delete", (tx) => {
    const view = document.graph(graph);
    for (const id of new Set(ids)) {
      dropLinks(document, tx, graph, view.linked.of(view.node(id).id));
      tx.remove(graph, "nodes", id);
    }
  });
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids
 * @param {number} dx
 * @param {number} dy
 * @param {EditOptions} [options]
 */
export function moveNodes(document, graph, ids, dx, dy, options) {
  const view = document.graph(graph);
  document.edit(
    "Move",
    (tx) => {
      for (const id of ids) {
        const node = view.node(id);
        tx.put(graph, "nodes", { ...node, pos: point(node.pos[0] + dx, node.pos[1] + dy) });
      }
    },
    options,
  );
}

/**
 * Put nodes at places of their own (align, distribute, arrange).
 * @param {Document} document
 * @param {string} graph
 * @param {ReadonlyMap<Id, Point>} places
 * @param {string} [label]
 */
export function placeNodes(document, graph, places, label = "Arrange") {
  document.edit(label, (tx) => {
    for (const [id, [x, y]] of places) tx.put(graph, "nodes", { ...document.graph(graph).node(id), pos: point(x, y) });
  });
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {number} width
 * @param {number} height
 * @param {EditOptions} [options]
 */
export function resizeNode(document, graph, id, width, height, options) {
  const [w, h] = point(width, height);
  change(document, graph, [id], "Resize", () => ({ size: [Math.max(SMALLEST, w), Math.max(SMALLEST, h)] }), options);
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {string} title  empty: back to the name of its type
 * @param {EditOptions} [options]
 */
export function renameNode(document, graph, id, title, options) {
  document.edit(
    "Rename",
    (tx) => {
      const { title: _old, ...node } = document.graph(graph).node(id);
      tx.put(graph, "nodes", title === "" ? node : { ...node, title });
    },
    options,
  );
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {NodeDefinition} definition
 * @param {string} name  of the input
 * @param {unknown} value
 * @param {EditOptions & {role?: "value" | "control" | "filter"}} [options]
 */
export function setWidget(document, graph, id, definition, name, value, { role = "value", ...options } = {}) {
  document.edit(`Change ${name}`, (tx) => tx.put(graph, "nodes", withWidget(document.graph(graph).node(id), definition, name, value, role)), options);
}

/**
 * Change a value by its position: nodes without a definition, notes, primitives, instances of subgraphs.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {number | string} at  a name where the node keeps its values by name
 * @param {unknown} value
 * @param {EditOptions} [options]
 */
export function setValueAt(document, graph, id, at, value, options) {
  document.edit("Change value", (tx) => tx.put(graph, "nodes", withValueAt(document.graph(graph).node(id), at, value)), options);
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids
 * @param {number} mode  0 runs, 2 muted, 4 bypassed
 */
export function setMode(document, graph, ids, mode) {
  change(document, graph, ids, mode === 0 ? "Enable" : mode === 2 ? "Mute" : "Bypass", () => ({ mode }));
}

/** @param {Document} document @param {string} graph @param {Iterable<Id>} ids @param {boolean} collapsed */
export function setCollapsed(document, graph, ids, collapsed) {
  change(document, graph, ids, collapsed ? "Collapse" : "Expand", (node) => ({ flags: flag(node, "collapsed", collapsed) }));
}

/** @param {Document} document @param {string} graph @param {Iterable<Id>} ids @param {boolean} pinned */
export function setPinned(document, graph, ids, pinned) {
  change(document, graph, ids, pinned ? "Pin" : "Unpin", (node) => ({ flags: flag(node, "pinned", pinned) }));
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids
 * @param {{color: string, bgcolor: string} | null} colours  null: as the theme has it
 */
export function setColour(document, graph, ids, colours) {
  document.edit("Colour", (tx) => {
    for (const id of ids) {
      const { color: _color, bgcolor: _bgcolor, ...node } = document.graph(graph).node(id);
      tx.put(graph, "nodes", { ...node, ...colours });
    }
  });
}

/** @param {Document} document @param {string} graph @param {Iterable<Id>} ids @param {number} shape  1 square, 2 round, 4 round at two corners */
export function setShape(document, graph, ids, shape) {
  change(document, graph, ids, "Shape", () => ({ shape }));
}

/** @param {Document} document @param {string} graph @param {Id} id @param {string} name @param {unknown} value */
export function setProperty(document, graph, id, name, value) {
  change(document, graph, [id], `Change ${name}`, (node) => ({ properties: { ...node.properties, [name]: value } }));
}

/** Paint nodes over all others. @param {Document} document @param {string} graph @param {Iterable<Id>} ids */
export function bringToFront(document, graph, ids) {
  change(document, graph, ids, "Bring to front", () => ({ rank$: document.nextRank() }));
}

/**
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids
 * @param {string} label
 * @param {(node: Readonly<NodeRecord>) => Partial<NodeRecord>} difference
 * @param {EditOptions} [options]
 */
function change(document, graph, ids, label, difference, options) {
  document.edit(
    label,
    (tx) => {
      for (const id of ids) {
        const node = document.graph(graph).node(id);
        tx.put(graph, "nodes", { ...node, ...difference(node) });
      }
    },
    options,
  );
}

/** @param {Readonly<NodeRecord>} node @param {string} name @param {boolean} on */
function flag(node, name, on) {
  const { [name]: _old, ...flags } = node.flags ?? {};
  return on ? { ...flags, [name]: true } : flags;
}

/** @param {number} x @param {number} y @returns {Point} @throws {Error} when one is no number */
function point(x, y) {
  if (!Number.isFinite(x) || !Number.isFinite(y)) throw new Error(`${x}, ${y} is no place.`);
  return [x, y];
}
