// One graph of a document in the form of the file it came from: 0.4 has links as arrays, everything later as objects.

import { ranked } from "../core/graphview.js";
import { INPUT_BOUNDARY, OUTPUT_BOUNDARY, ROOT } from "../core/records.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */
/** @typedef {import("../core/records.js").BoundarySlot} BoundarySlot */
/** @typedef {import("../core/graphview.js").GraphView} GraphView */
/** @typedef {Record<string, unknown>} Json */

/**
 * @param {GraphView} graph
 * @returns {Json}
 */
export function writeGraph(graph) {
  const { rank$: _rank, unclaimed$ = [], ...record } = graph.record;
  const file = /** @type {Json} */ ({ ...record });
  const arrays = record.version === 0.4;
  if (graph.name === ROOT) {
    delete file.id;
    if (file.fileId$ !== undefined) file.id = file.fileId$;
    delete file.fileId$;
  } else {
    file.inputs = boundary(record.inputs, (slot) => graph.linked.output(INPUT_BOUNDARY, slot));
    file.outputs = boundary(record.outputs, (slot) => graph.linked.inputs(OUTPUT_BOUNDARY, slot));
  }
  const links = ranked(graph.links);
  file.nodes = ranked(graph.nodes).map((node) => writeNode(node, graph));
  file.links = [...links.map((link) => (arrays ? linkAsArray(link) : linkAsObject(link))), ...unclaimed$];
  file.groups = ranked(graph.groups).map(plain);
  if (graph.floating.size) file.floatingLinks = ranked(graph.floating).map(plain);
  if (graph.reroutes.size) {
    const passing = linksThrough(graph, links);
    const reroutes = ranked(graph.reroutes).map((reroute) => ({ ...plain(reroute), linkIds: passing.get(reroute.id) ?? [] }));
    if (arrays) {
      const linkExtensions = links.filter((link) => link.parentId !== undefined).map(({ id, parentId }) => ({ id, parentId }));
      file.extra = { .../** @type {Json | undefined} */ (file.extra), reroutes, linkExtensions };
    } else file.reroutes = reroutes;
  }
  return file;
}

/**
 * @param {Readonly<NodeRecord>} node
 * @param {GraphView} graph
 */
function writeNode(node, graph) {
  const file = plain(node);
  if (node.inputs) file.inputs = node.inputs.map((slot, i) => ({ ...slot, link: graph.linked.input(node.id, i)?.id ?? null }));
  if (node.outputs) file.outputs = node.outputs.map((slot, i) => ({ ...slot, links: graph.linked.output(node.id, i).map((link) => link.id) }));
  return file;
}

/**
 * @param {readonly Readonly<BoundarySlot>[] | undefined} slots
 * @param {(slot: number) => readonly Readonly<LinkRecord>[]} linksAt
 */
function boundary(slots, linksAt) {
  return (slots ?? []).map((slot, i) => ({ ...slot, linkIds: linksAt(i).map((link) => link.id) }));
}

/** @param {Readonly<LinkRecord>} link @returns {unknown[]} */
function linkAsArray(link) {
  const more = /** @type {{more$?: readonly unknown[]}} */ (link).more$ ?? [];
  return [link.id, link.from, link.fromSlot, link.to, link.toSlot, link.type, ...more];
}

/** @param {Readonly<LinkRecord>} link @returns {Json} */
function linkAsObject({ rank$: _rank, id, from, fromSlot, to, toSlot, type, ...more }) {
  return { id, origin_id: from, origin_slot: fromSlot, target_id: to, target_slot: toSlot, type, ...more };
}

/**
 * Which links pass each reroute.
 * @param {GraphView} graph
 * @param {readonly Readonly<LinkRecord>[]} links
 * @returns {Map<Id, Id[]>}
 */
function linksThrough(graph, links) {
  /** @type {Map<Id, Id[]>} */
  const passing = new Map();
  for (const link of links) for (const { id } of graph.reroutesOf(link)) passing.set(id, [...(passing.get(id) ?? []), link.id]);
  return passing;
}

/** @param {object} record @returns {Json} */
function plain(record) {
  const { rank$: _rank, ...rest } = /** @type {Json} */ (record);
  return rest;
}
