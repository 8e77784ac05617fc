// Links that follow when nodes change places: a node put on a link, a node taken out of a chain, another node in the place of one.

import { bypass } from "../passing.js";
import { compatible } from "../types.js";
import { connect, dropLinks, growInputs } from "./links.js";
import { removeNodes } from "./nodes.js";
import { newNode } from "../new_node.js";
import { readWidgets, withWidget } from "../widgets.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").NodeRecord} NodeRecord */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {import("../definitions.js").Definitions} Definitions */
/** @typedef {import("../definitions.js").NodeDefinition} NodeDefinition */

/**
 * Whether a node could be put on a link: it has an input and an output the link fits.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} node
 * @param {Id} link
 * @returns {{input: number, output: number} | null} the sockets it would use
 */
export function fitsOnLink(document, graph, node, link) {
  const view = document.graph(graph);
  const wire = view.links.get(link);
  const record = view.nodes.get(node);
  if (!wire || !record || wire.from === node || wire.to === node) return null;
  const target = view.nodes.get(wire.to)?.inputs?.[wire.toSlot]?.type ?? wire.type;
  const input = (record.inputs ?? []).findIndex((slot, i) => !slot.widget && compatible(wire.type, slot.type) && !view.linked.input(node, i));
  const output = (record.outputs ?? []).findIndex((slot) => compatible(slot.type, target));
  return input >= 0 && output >= 0 ? { input, output } : null;
}

/**
 * Put a node on a link: what fed the target feeds the node, and the node feeds the target.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} node
 * @param {Id} link
 * @param {NodeDefinition | null} [definition]  of the node, whose row of inputs may grow by it
 * @returns {boolean} whether it fitted
 */
export function insertOnLink(document, graph, node, link, definition = null) {
  const fit = fitsOnLink(document, graph, node, link);
  const wire = document.graph(graph).links.get(link);
  if (!fit || !wire) return false;
  document.edit("Insert on link", () => {
    connect(document, graph, { node: wire.from, slot: wire.fromSlot }, { node, slot: fit.input });
    connect(document, graph, { node, slot: fit.output }, { node: wire.to, slot: wire.toSlot });
    if (definition) growInputs(document, graph, node, definition);
  });
  return true;
}

/**
 * Remove nodes and close the gaps: what they fed is fed by what fed them, where the types fit as they do for a bypassed node.
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids
 */
export function dissolveNodes(document, graph, ids) {
  document.edit("Delete and keep links", () => {
    for (const id of new Set(ids)) {
      const view = document.graph(graph);
      const node = view.node(id);
      for (const out of view.linked.outOf(id)) {
        const target = view.nodes.get(out.to)?.inputs?.[out.toSlot]?.type ?? out.type;
        const input = bypass(node, out.fromSlot, target);
        const source = input < 0 ? undefined : view.linked.input(id, input);
        if (source && source.from !== id) connect(document, graph, { node: source.from, slot: source.fromSlot }, { node: out.to, slot: out.toSlot });
      }
      removeNodes(document, graph, [id]);
    }
  });
}

/**
 * Another type of node in the place of one. Links go on where a socket of the same name or of a fitting type is; values of the same name stay.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {NodeDefinition} definition
 * @param {Definitions} definitions
 */
export function swapNode(document, graph, id, definition, definitions) {
  document.edit("Swap node", (tx) => {
    const view = document.graph(graph);
    const old = view.node(id);
    const before = definitions.get(old.type);
    const fresh = newNode(id, old.rank$, definition.type, definition);
    /** @type {NodeRecord} */
    let node = { ...fresh, pos: old.pos, size: [Math.max(old.size[0], fresh.size[0]), fresh.size[1]], ...(old.mode ? { mode: old.mode } : {}), ...(old.color ? { color: old.color, bgcolor: old.bgcolor } : {}) };
    if (before) {
      for (const [name, value] of readWidgets(old, before)) {
        const [a, b] = [before.inputs.find((each) => each.name === name), definition.inputs.find((each) => each.name === name)];
        if (a && b?.widget && a.type === b.type && (!b.choices || b.choices.includes(value))) node = withWidget(node, definition, name, value);
      }
    }
    const into = view.linked.into(id);
    const outOf = view.linked.outOf(id);
    dropLinks(document, tx, graph, view.linked.of(id));
    tx.put(graph, "nodes", node);
    const taken = new Set();
    for (const link of into) {
      const name = old.inputs?.[link.toSlot]?.name;
      const named = definition.inputs.find((input) => input.name === name && compatible(link.type, input.type) && !taken.has(input.name));
      const other = named ?? definition.inputs.find((input) => !input.widget && compatible(link.type, input.type) && !taken.has(input.name));
      if (other) taken.add(other.name);
      const now = document.graph(graph);
      const slot = other ? now.inputIndex(id, other.name) : (now.node(id).inputs ?? []).findIndex((each, i) => inRow(definition, each.name) && compatible(link.type, each.type) && !now.linked.input(id, i));
      if (slot < 0 && !other) continue;
      connect(document, graph, { node: link.from, slot: link.fromSlot }, { node: id, slot: slot >= 0 || !other ? slot : { name: other.name, type: other.type } });
      growInputs(document, graph, id, definition);
    }
    for (const link of outOf) {
      const target = link.to === id ? null : view.nodes.get(link.to)?.inputs?.[link.toSlot]?.type ?? link.type;
      if (target === null) continue;
      const name = old.outputs?.[link.fromSlot]?.name;
      const outputs = node.outputs ?? [];
      const named = outputs.findIndex((slot) => slot.name === name && compatible(slot.type, target));
      const slot = named >= 0 ? named : outputs.findIndex((each) => compatible(each.type, target));
      if (slot >= 0) connect(document, graph, { node: id, slot }, { node: link.to, slot: link.toSlot });
    }
  });
}

/** Whether a socket is one of a row that grows. @param {NodeDefinition} definition @param {string} name */
function inRow({ inputs }, name) {
  return inputs.some(({ grows }) => grows?.names.includes(name));
}
