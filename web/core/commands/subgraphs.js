// Nodes into a subgraph: they move to a definition of their own, and one node stands for them.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY, ROOT } from "../records.js";
import { nextId } from "./ids.js";
import { removeNodes } from "./nodes.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").SlotType} SlotType */
/** @typedef {import("../records.js").LinkRecord} LinkRecord */
/** @typedef {import("../records.js").InputSlot} InputSlot */
/** @typedef {import("../graphview.js").GraphView} GraphView */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {{name: string, type: SlotType, widget: boolean, links: Readonly<LinkRecord>[]}} Crossing  links over the border that share an output */

const MARGIN = 180;

/**
 * What runs stays the same, but for the ids. Values of promoted widgets are those of the nodes inside until they are changed outside.
 * Links that cross the border, and those inside, lose their reroutes.
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} ids  of the nodes to move
 * @param {string} definition  the id of the new definition, one that is nowhere else (a uuid)
 * @param {string} [name]
 * @returns {Id} of the node that stands for them
 */
export function createSubgraph(document, graph, ids, definition, name = "Subgraph") {
  if (document.hasGraph(definition) || definition === ROOT) throw new Error(`There is a graph ${definition} in this document already.`);
  const view = document.graph(graph);
  const nodes = [...new Set(ids)].map((id) => view.node(id));
  if (!nodes.length) throw new Error("Nothing is selected to make a subgraph of.");
  const moved = new Set(nodes.map((node) => node.id));
  const links = [...new Set(nodes.flatMap((node) => view.linked.of(node.id)))].sort((a, b) => a.rank$ - b.rank$);
  const within = links.filter((link) => moved.has(link.from) && moved.has(link.to));
  const inputs = crossings(links.filter((link) => !moved.has(link.from)), (link) => targetSlot(view, link));
  const outputs = crossings(links.filter((link) => !moved.has(link.to)), (link) => view.node(link.from).outputs?.[link.fromSlot]);
  const left = Math.min(...nodes.map(({ pos }) => pos[0]));
  const top = Math.min(...nodes.map(({ pos }) => pos[1]));
  const right = Math.max(...nodes.map(({ pos, size }) => pos[0] + size[0]));

  return document.edit("Create subgraph", (tx) => {
    /** @param {Crossing[]} list @param {string} side */
    const slots = (list, side) => list.map(({ name: slot, type }, i) => ({ id: `${definition}-${side}-${i}`, name: slot, type }));
    const numbers = nodes.map(({ id }) => id).filter((id) => typeof id === "number");
    const record = {
      id: definition, rank$: document.nextRank(), version: 1, revision: 0, name, config: {}, extra: {}, widgets: [],
      state: { lastGroupId: 0, lastNodeId: Math.max(0, ...numbers), lastLinkId: 0, lastRerouteId: 0 },
      inputNode: { id: INPUT_BOUNDARY, bounding: [left - MARGIN, top, 120, 60] },
      outputNode: { id: OUTPUT_BOUNDARY, bounding: [right + MARGIN - 120, top, 120, 60] },
      inputs: slots(inputs, "input"),
      outputs: slots(outputs, "output"),
    };
    tx.put(definition, "graph", record);
    removeNodes(document, graph, moved);
    for (const node of nodes) tx.put(definition, "nodes", node);

    const id = nextId(document, tx, graph, "nodes");
    tx.put(graph, "nodes", {
      id, rank$: document.nextRank(), type: definition, pos: [left, top], size: [240, 60 + 20 * Math.max(inputs.length, outputs.length)], flags: {}, mode: 0,
      inputs: inputs.map((each) => ({ name: each.name, type: each.type, ...(each.widget ? { widget: { name: each.name } } : {}) })),
      outputs: outputs.map(({ name: slot, type }) => ({ name: slot, type })),
      properties: {}, title: name, widgets_values: [],
    });
    /** @param {string} where @param {Readonly<LinkRecord>} link @param {Partial<LinkRecord>} ends */
    const put = (where, { parentId: _bend, ...link }, ends) => {
      const record = { ...link, ...ends, id: nextId(document, tx, where, "links"), rank$: document.nextRank() };
      tx.put(where, "links", record);
    };
    for (const link of within) put(definition, link, {});
    inputs.forEach((each, slot) => {
      put(graph, each.links[0], { to: id, toSlot: slot });
      for (const link of each.links) put(definition, link, { from: INPUT_BOUNDARY, fromSlot: slot });
    });
    outputs.forEach((each, slot) => {
      put(definition, each.links[0], { to: OUTPUT_BOUNDARY, toSlot: slot });
      for (const link of each.links) put(graph, link, { from: id, fromSlot: slot });
    });
    return id;
  });
}

/**
 * Links over the border, together where they leave the same output; every set gets a name of its own.
 * @param {readonly Readonly<LinkRecord>[]} links
 * @param {(link: Readonly<LinkRecord>) => Readonly<InputSlot> | undefined} slotOf  the socket the border takes its name and type from
 * @returns {Crossing[]}
 */
function crossings(links, slotOf) {
  /** @type {Map<string, Crossing>} */
  const found = new Map();
  const names = new Set();
  for (const link of links) {
    const key = `${typeof link.from} ${link.from} ${link.fromSlot}`;
    let crossing = found.get(key);
    if (!crossing) {
      const slot = slotOf(link);
      const base = slot?.name || String(link.type);
      let name = base;
      for (let n = 1; names.has(name); n++) name = `${base}_${n}`;
      names.add(name);
      crossing = { name, type: slot?.type ?? link.type, widget: false, links: [] };
      found.set(key, crossing);
    }
    crossing.links.push(link);
    crossing.widget ||= slotOf(link)?.widget !== undefined;
  }
  return [...found.values()];
}

/** @param {GraphView} view @param {Readonly<LinkRecord>} link */
function targetSlot(view, link) {
  return view.node(link.to).inputs?.[link.toSlot];
}
