// What goes into a subgraph and out of it: the sockets of its border, and of all the nodes that stand for it.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../records.js";
import { dropLinks, removeSocket } from "./links.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").SlotType} SlotType */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {"inputs" | "outputs"} Side */

/**
 * Every node that stands for a subgraph, wherever it is.
 * @param {Document} document
 * @param {string} definition
 * @returns {{graph: string, id: Id}[]}
 */
export function instancesOf(document, definition) {
  const graphs = [document.root, ...document.definitions.map((name) => document.graph(name))];
  return graphs.flatMap((view) => [...view.nodes.values()].filter((node) => node.type === definition).map(({ id }) => ({ graph: view.name, id })));
}

/**
 * One more socket at the border, with a name that is free, and on every instance.
 * @param {Document} document
 * @param {string} definition
 * @param {Side} side
 * @param {string} name
 * @param {SlotType} type
 * @param {{widget?: boolean}} [options]  `widget`: it shows a widget inside
 * @returns {number} its position
 */
export function addBoundarySlot(document, definition, side, name, type, { widget = false } = {}) {
  return document.edit(side === "inputs" ? "Add input" : "Add output", (tx) => {
    const record = document.graph(definition).record;
    const slots = record[side] ?? [];
    let free = name || String(type);
    for (let n = 1; slots.some((slot) => slot.name === free); n++) free = `${name}_${n}`;
    let number = slots.length;
    while (slots.some(({ id }) => id === `${definition}-${side}-${number}`)) number++;
    tx.put(definition, "graph", { ...record, [side]: [...slots, { id: `${definition}-${side}-${number}`, name: free, type }] });
    for (const { graph, id } of instancesOf(document, definition)) {
      const node = document.graph(graph).node(id);
      tx.put(graph, "nodes", { ...node, [side]: [...(node[side] ?? []), { name: free, type, ...(widget ? { widget: { name: free } } : {}) }] });
    }
    return slots.length;
  });
}

/**
 * Take a socket away from the border and from every instance, with its links.
 * @param {Document} document
 * @param {string} definition
 * @param {Side} side
 * @param {number} slot
 */
export function removeBoundarySlot(document, definition, side, slot) {
  document.edit(side === "inputs" ? "Remove input" : "Remove output", (tx) => {
    const view = document.graph(definition);
    const record = view.record;
    const slots = record[side] ?? [];
    const name = slots[slot]?.name;
    if (name === undefined) throw new Error(`The subgraph has no socket number ${slot} among its ${side}.`);
    const border = side === "inputs" ? INPUT_BOUNDARY : OUTPUT_BOUNDARY;
    const end = side === "inputs" ? "from" : "to";
    const key = side === "inputs" ? "fromSlot" : "toSlot";
    const links = [...view.links.values()].filter((link) => link[end] === border);
    dropLinks(document, tx, definition, links.filter((link) => link[key] === slot));
    for (const link of links.filter((each) => each[key] > slot)) tx.put(definition, "links", { ...link, [key]: link[key] - 1 });
    tx.put(definition, "graph", { ...record, [side]: slots.filter((_, i) => i !== slot) });
    for (const { graph, id } of instancesOf(document, definition)) {
      const at = (document.graph(graph).node(id)[side] ?? []).findIndex((each) => each.name === name);
      if (at >= 0) removeSocket(document, graph, id, side, at);
    }
  });
}

/**
 * Another name for a socket of the border. Files tell sockets of an instance by name, so both change.
 * @param {Document} document
 * @param {string} definition
 * @param {Side} side
 * @param {number} slot
 * @param {string} label
 */
export function renameBoundarySlot(document, definition, side, slot, label) {
  document.edit("Rename", (tx) => {
    const record = document.graph(definition).record;
    const slots = record[side] ?? [];
    const name = slots[slot]?.name;
    if (name === undefined) throw new Error(`The subgraph has no socket number ${slot} among its ${side}.`);
    tx.put(definition, "graph", { ...record, [side]: slots.map((each, i) => (i === slot ? { ...each, label } : each)) });
    for (const { graph, id } of instancesOf(document, definition)) {
      const node = document.graph(graph).node(id);
      tx.put(graph, "nodes", { ...node, [side]: (node[side] ?? []).map((each) => (each.name === name ? { ...each, label } : each)) });
    }
  });
}
