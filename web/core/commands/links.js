// What can be done to links, sockets and reroutes.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../records.js";
import { refusal } from "../types.js";
import { nextId } from "./ids.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").Point} Point */
/** @typedef {import("../records.js").SlotType} SlotType */
/** @typedef {import("../records.js").InputSlot} InputSlot */
/** @typedef {import("../records.js").OutputSlot} OutputSlot */
/** @typedef {import("../records.js").LinkRecord} LinkRecord */
/** @typedef {import("../graphview.js").GraphView} GraphView */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {import("../document.js").Transaction} Transaction */
/** @typedef {import("../document.js").EditOptions} EditOptions */
/** @typedef {{node: Id, slot: number}} End  node -10 or -20: the border of the subgraph */
/** @typedef {{name: string, type: SlotType}} WidgetSocket  a widget that has no socket yet */

/** A link that cannot be; the message says why. */
export class RefusedLink extends Error {
  name = "RefusedLink";
}

/**
 * Link an output to an input. A link that was there is replaced; a widget gets its socket.
 * @param {Document} document
 * @param {string} graph
 * @param {End} from
 * @param {{node: Id, slot: number | WidgetSocket}} to
 * @returns {Id} of the link
 * @throws {RefusedLink} when the types do not fit
 */
export function connect(document, graph, from, to) {
  return document.edit("Connect", (tx) => {
    const view = document.graph(graph);
    const toSlot = typeof to.slot === "number" ? to.slot : widgetSocket(view, tx, to.node, to.slot);
    const output = outputOf(view, from);
    const input = inputOf(view, { node: to.node, slot: toSlot });
    const reason = refusal(output.type, input.type);
    if (reason) throw new RefusedLink(`${output.name} cannot feed ${input.name}: ${reason}`);
    const old = view.linked.input(to.node, toSlot);
    if (old && old.from === from.node && old.fromSlot === from.slot) return old.id;
    if (old) dropLinks(document, tx, graph, [old]);
    const id = nextId(document, tx, graph, "links");
    const link = { id, rank$: document.nextRank(), from: from.node, fromSlot: from.slot, to: to.node, toSlot, type: output.type };
    tx.put(graph, "links", link);
    return id;
  });
}

/**
 * Give a row of inputs that grows its next socket when the last one is linked.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {import("../definitions.js").NodeDefinition} definition
 */
export function growInputs(document, graph, id, definition) {
  const view = document.graph(graph);
  for (const { grows } of definition.inputs) {
    if (!grows) continue;
    const inputs = view.node(id).inputs ?? [];
    const there = inputs.flatMap((slot, i) => (grows.names.includes(slot.name) ? [i] : []));
    const next = grows.names.find((name) => !inputs.some((slot) => slot.name === name));
    if (next !== undefined && there.every((i) => view.linked.input(id, i) !== undefined)) addSocket(document, graph, id, "inputs", /** @type {InputSlot} */ ({ name: next, type: grows.type, shape: 7 }));
  }
}

/** @param {Document} document @param {string} graph @param {Iterable<Id>} ids */
export function removeLinks(document, graph, ids) {
  document.edit("Disconnect", (tx) => {
    const links = document.graph(graph).links;
    dropLinks(document, tx, graph, [...ids].flatMap((id) => links.get(id) ?? []));
  });
}

/** Take away what feeds an input. @param {Document} document @param {string} graph @param {End} input */
export function disconnectInput(document, graph, { node, slot }) {
  const link = document.graph(graph).linked.input(node, slot);
  if (link) removeLinks(document, graph, [link.id]);
}

/** Take away everything an output feeds. @param {Document} document @param {string} graph @param {End} output */
export function disconnectOutput(document, graph, { node, slot }) {
  removeLinks(document, graph, document.graph(graph).linked.output(node, slot).map((link) => link.id));
}

/**
 * Remove links, and the reroutes that no link passes any more.
 * @param {Document} document
 * @param {Transaction} tx
 * @param {string} graph
 * @param {readonly Readonly<LinkRecord>[]} links
 */
export function dropLinks(document, tx, graph, links) {
  const view = document.graph(graph);
  const passed = links.flatMap((link) => view.reroutesOf(link));
  for (const link of links) tx.remove(graph, "links", link.id);
  if (!passed.length) return;
  const used = new Set([...view.links.values()].flatMap((link) => view.reroutesOf(link)));
  for (const reroute of new Set(passed)) if (!used.has(reroute)) tx.remove(graph, "reroutes", reroute.id);
}

/**
 * Add a socket to a node (nodes that grow), after those it has.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {"inputs" | "outputs"} side
 * @param {InputSlot | OutputSlot} socket
 * @returns {number} its position
 */
export function addSocket(document, graph, id, side, socket) {
  return document.edit("Add socket", (tx) => {
    const node = document.graph(graph).node(id);
    const sockets = node[side] ?? [];
    tx.put(graph, "nodes", { ...node, [side]: [...sockets, socket] });
    return sockets.length;
  });
}

/**
 * Remove a socket with its links; links of the sockets after it move up.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {"inputs" | "outputs"} side
 * @param {number} slot
 */
export function removeSocket(document, graph, id, side, slot) {
  document.edit("Remove socket", (tx) => {
    const view = document.graph(graph);
    const node = view.node(id);
    const sockets = node[side] ?? [];
    if (!(slot in sockets)) throw new Error(`Node ${id} has no socket number ${slot} among its ${side}.`);
    const key = side === "inputs" ? "toSlot" : "fromSlot";
    const links = side === "inputs" ? view.linked.into(id) : view.linked.outOf(id);
    dropLinks(document, tx, graph, links.filter((link) => link[key] === slot));
    for (const link of links.filter((each) => each[key] > slot).sort((a, b) => a[key] - b[key])) {
      tx.put(graph, "links", { ...link, [key]: link[key] - 1 });
    }
    tx.put(graph, "nodes", { ...node, [side]: sockets.filter((_, i) => i !== slot) });
  });
}

/**
 * Bend a link over a point, after the reroutes it passes already.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} linkId
 * @param {Point} pos
 * @returns {Id} of the reroute
 */
export function addReroute(document, graph, linkId, pos) {
  return document.edit("Add reroute", (tx) => {
    const link = document.graph(graph).links.get(linkId);
    if (!link) throw new Error(`There is no link ${linkId}.`);
    const id = nextId(document, tx, graph, "reroutes");
    const before = link.parentId === undefined ? {} : { parentId: link.parentId };
    tx.put(graph, "reroutes", { id, rank$: document.nextRank(), pos, ...before });
    tx.put(graph, "links", { ...link, parentId: id });
    return id;
  });
}

/** @param {Document} document @param {string} graph @param {Id} id @param {Point} pos @param {EditOptions} [options] */
export function moveReroute(document, graph, id, pos, options) {
  document.edit("Move reroute", (tx) => {
    const reroute = document.graph(graph).reroutes.get(id);
    if (reroute) tx.put(graph, "reroutes", { ...reroute, pos });
  }, options);
}

/** Take a reroute out; the links that passed it stay. @param {Document} document @param {string} graph @param {Id} id */
export function removeReroute(document, graph, id) {
  document.edit("Remove reroute", (tx) => {
    const view = document.graph(graph);
    const gone = view.reroutes.get(id);
    if (!gone) return;
    /** @param {{parentId?: Id}} record */
    const passing = ({ parentId: _gone, ...rest }) => (gone.parentId === undefined ? rest : { ...rest, parentId: gone.parentId });
    for (const link of view.links.values()) {
      if (link.parentId === id) tx.put(graph, "links", /** @type {LinkRecord} */ (passing(link)));
    }
    for (const reroute of view.reroutes.values()) {
      if (reroute.parentId === id) tx.put(graph, "reroutes", /** @type {import("../records.js").RerouteRecord} */ (passing(reroute)));
    }
    tx.remove(graph, "reroutes", id);
  });
}

/**
 * @param {GraphView} view
 * @param {Transaction} tx
 * @param {Id} id
 * @param {WidgetSocket} socket
 */
function widgetSocket(view, tx, id, { name, type }) {
  const node = view.node(id);
  const inputs = node.inputs ?? [];
  const at = inputs.findIndex((slot) => slot.name === name);
  if (at >= 0) return at;
  tx.put(view.name, "nodes", { ...node, inputs: [...inputs, { name, type, widget: { name } }] });
  return inputs.length;
}

/** @param {GraphView} view @param {End} end */
function outputOf(view, { node, slot }) {
  const found = node === INPUT_BOUNDARY ? view.record.inputs?.[slot] : view.node(node).outputs?.[slot];
  if (!found) throw new Error(`Node ${node} has no output number ${slot}.`);
  return found;
}

/** @param {GraphView} view @param {End} end */
function inputOf(view, { node, slot }) {
  const found = node === OUTPUT_BOUNDARY ? view.record.outputs?.[slot] : view.node(node).inputs?.[slot];
  if (!found) throw new Error(`Node ${node} has no input number ${slot}.`);
  return found;
}
