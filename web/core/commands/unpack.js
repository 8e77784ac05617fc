// A subgraph back into the graph it is in: its nodes come out, and the node that stood for them goes.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../records.js";
import { ranked } from "../graphview.js";
import { inputNamed, withWidget } from "../widgets.js";
import { nextId } from "./ids.js";
import { connect } from "./links.js";
import { removeNodes } from "./nodes.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").NodeRecord} NodeRecord */
/** @typedef {import("../records.js").LinkRecord} LinkRecord */
/** @typedef {import("../records.js").RerouteRecord} RerouteRecord */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {import("../definitions.js").Definitions} Definitions */
/** @typedef {{get(type: string): import("../definitions.js").NodeDefinition | null}} Known */

/**
 * What runs stays the same. Values the instance holds for promoted widgets go to the nodes inside. The definition stays while it is used elsewhere.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} instance
 * @param {Known} definitions
 * @returns {Id[]} the nodes that came out
 */
export function unpackSubgraph(document, graph, instance, definitions) {
  const view = document.graph(graph);
  const node = view.node(instance);
  const inner = document.graph(node.type);
  const [left, top] = corner([...inner.nodes.values()].map(({ pos }) => pos));
  const [dx, dy] = [node.pos[0] - left, node.pos[1] - top];
  return document.edit("Unpack subgraph", (tx) => {
    /** @type {Map<Id, Id>} */
    const ids = new Map();
    for (const each of ranked(inner.nodes)) {
      const id = nextId(document, tx, graph, "nodes");
      ids.set(each.id, id);
      tx.put(graph, "nodes", { ...each, id, rank$: document.nextRank(), pos: [each.pos[0] + dx, each.pos[1] + dy], ...(node.mode ? { mode: node.mode } : {}) });
    }
    for (const group of ranked(inner.groups)) {
      const [x, y, w, h] = group.bounding;
      const record = { ...group, id: nextId(document, tx, graph, "groups"), rank$: document.nextRank(), bounding: /** @type {const} */ ([x + dx, y + dy, w, h]) };
      tx.put(graph, "groups", record);
    }
    /** @param {Id} id */
    const outside = (id) => /** @type {Id} */ (ids.get(id));
    for (const { parentId: _bend, ...link } of ranked(inner.links)) {
      if (link.from === INPUT_BOUNDARY || link.to === OUTPUT_BOUNDARY) continue;
      /** @type {LinkRecord} */
      const record = { ...link, id: nextId(document, tx, graph, "links"), rank$: document.nextRank(), from: outside(link.from), to: outside(link.to) };
      tx.put(graph, "links", record);
    }
    (inner.record.inputs ?? []).forEach((slot, i) => {
      const at = view.inputIndex(instance, slot.name);
      const feeding = at < 0 ? undefined : view.linked.input(instance, at);
      const value = held(node, slot.name, inner, i);
      for (const link of inner.linked.output(INPUT_BOUNDARY, i)) {
        if (link.to === OUTPUT_BOUNDARY) continue;
        if (feeding) connect(document, graph, { node: feeding.from, slot: feeding.fromSlot }, { node: outside(link.to), slot: link.toSlot });
        else if (value !== undefined && value !== null) {
          const target = view.node(outside(link.to));
          const name = target.inputs?.[link.toSlot]?.widget?.name;
          const definition = definitions.get(target.type);
          if (name !== undefined && definition && inputNamed(target, definition, name)?.widget) tx.put(graph, "nodes", withWidget(target, definition, name, value));
        }
      }
    });
    (inner.record.outputs ?? []).forEach((_, i) => {
      const source = inner.linked.inputs(OUTPUT_BOUNDARY, i)[0];
      if (!source) return;
      for (const link of [...view.linked.output(instance, i)]) {
        if (source.from !== INPUT_BOUNDARY) connect(document, graph, { node: outside(source.from), slot: source.fromSlot }, { node: link.to, slot: link.toSlot });
        else {
          const through = view.inputIndex(instance, inner.record.inputs?.[source.fromSlot]?.name ?? "");
          const feeding = through < 0 ? undefined : view.linked.input(instance, through);
          if (feeding) connect(document, graph, { node: feeding.from, slot: feeding.fromSlot }, { node: link.to, slot: link.toSlot });
        }
      }
    });
    removeNodes(document, graph, [instance]);
    return [...ids.values()];
  });
}

/** @param {readonly (readonly [number, number])[]} places @returns {[number, number]} */
function corner(places) {
  return places.length ? [Math.min(...places.map(([x]) => x)), Math.min(...places.map(([, y]) => y))] : [0, 0];
}

/**
 * What an instance holds for an input of its subgraph.
 * @param {Readonly<NodeRecord>} node
 * @param {string} name
 * @param {import("../graphview.js").GraphView} inner
 * @param {number} slot
 * @returns {unknown}
 */
function held(node, name, inner, slot) {
  const promoted = (inner.record.inputs ?? []).flatMap((_, i) => (inner.linked.output(INPUT_BOUNDARY, i).some((link) => inner.nodes.get(link.to)?.inputs?.[link.toSlot]?.widget) ? [i] : []));
  if (node.widgets_values_named && Object.hasOwn(node.widgets_values_named, name)) return node.widgets_values_named[name];
  if (Array.isArray(node.widgets_values)) return promoted.includes(slot) ? node.widgets_values[promoted.indexOf(slot)] : undefined;
  return /** @type {Record<string, unknown> | undefined} */ (node.widgets_values ?? undefined)?.[name];
}
