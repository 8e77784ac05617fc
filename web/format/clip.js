// A part of a graph as a small file: what copying puts on the clipboard, so that it can be pasted here, in another tab or in a text editor.

import { Document } from "../core/document.js";
import { ROOT } from "../core/records.js";
import { ranked } from "../core/graphview.js";
import { nextId } from "../core/commands/ids.js";
import { connect } from "../core/commands/links.js";
import { readWorkflow, writeWorkflow } from "./workflow.js";
import { writeGraph } from "./write_graph.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").Patch} Patch */
/** @typedef {import("../core/records.js").Table} Table */
/** @typedef {import("../core/records.js").AnyRecord} AnyRecord */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */
/** @typedef {import("../core/records.js").RerouteRecord} RerouteRecord */
/** @typedef {import("../core/records.js").GroupRecord} GroupRecord */
/** @typedef {import("../core/graphview.js").GraphView} GraphView */
/** @typedef {{from: Id, fromSlot: number, to: Id, toSlot: number}} Incoming  a link from outside into what was copied; `to` is its id in the copy */

const TABLES = /** @type {const} */ (["nodes", "links", "groups", "reroutes", "floating"]);

/**
 * Some nodes and groups as a file of their own: with the links among them and the subgraphs they stand for.
 * @param {Document} document
 * @param {string} graph
 * @param {Iterable<Id>} nodes
 * @param {Iterable<Id>} [groups]
 * @returns {{file: Record<string, unknown>, incoming: Incoming[]}} `incoming`: what feeds them, to link pasted ones to the same
 */
export function copyPart(document, graph, nodes, groups = []) {
  const view = document.graph(graph);
  const chosen = new Set(nodes);
  /** @type {Patch[]} */
  const patches = [];
  /** @param {string} name @param {Table} table @param {Readonly<AnyRecord>} record */
  const put = (name, table, record) => void patches.push({ graph: name, table, id: record.id, before: undefined, after: record });
  for (const id of chosen) put(ROOT, "nodes", view.node(id));
  for (const id of groups) {
    const group = view.groups.get(id);
    if (group) put(ROOT, "groups", group);
  }
  const links = [...view.links.values()].filter((link) => chosen.has(link.to));
  const within = links.filter((link) => chosen.has(link.from));
  for (const link of within) put(ROOT, "links", link);
  for (const reroute of new Set(within.flatMap((link) => view.reroutesOf(link)))) put(ROOT, "reroutes", reroute);
  const part = new Document();
  for (const name of usedBy(document, [...chosen].map((id) => view.node(id).type))) copyGraph(document.graph(name), name, put);
  part.apply(patches);
  const file = writeWorkflow(part);
  file.extra = { .../** @type {object} */ (file.extra ?? {}), clip: true }; // tells a part from a whole graph, which is opened rather than pasted
  return { file, incoming: links.filter((link) => !chosen.has(link.from)).map(({ from, fromSlot, to, toSlot }) => ({ from, fromSlot, to, toSlot })) };
}

/**
 * Put the nodes of a file into a graph, under new ids.
 * @param {Document} document
 * @param {string} graph
 * @param {unknown} file  an editor file, or a part of one
 * @param {{dx?: number, dy?: number, at?: readonly [number, number], incoming?: readonly Incoming[], label?: string}} [options]  how far they move, or where their upper left corner goes
 * @returns {{nodes: Id[], groups: Id[]}} the new ones
 * @throws {import("./workflow.js").BadWorkflow} when it is no such file
 */
export function pastePart(document, graph, file, { dx = 0, dy = 0, at, incoming = [], label = "Paste" } = {}) {
  const { document: part } = readWorkflow(JSON.parse(JSON.stringify(file)));
  const source = part.root;
  if (at) {
    const places = [...[...source.nodes.values()].map(({ pos }) => pos), ...[...source.groups.values()].map(({ bounding }) => bounding)];
    dx = at[0] - Math.min(...places.map((place) => place[0]));
    dy = at[1] - Math.min(...places.map((place) => place[1]));
  }
  return document.edit(label, (tx) => {
    /** @type {Map<string, string>} definitions that got another id, since theirs means something else here */
    const renamed = new Map();
    for (const name of part.definitions) {
      if (document.hasGraph(name) && JSON.stringify(writeGraph(document.graph(name)).nodes) !== JSON.stringify(writeGraph(part.graph(name)).nodes)) {
        let free = 2;
        while (document.hasGraph(`${name}-${free}`)) free++;
        renamed.set(name, `${name}-${free}`);
      }
    }
    /** @param {string} type */
    const typed = (type) => renamed.get(type) ?? type;
    for (const name of part.definitions) {
      if (document.hasGraph(typed(name))) continue;
      copyGraph(part.graph(name), typed(name), (target, table, record) => {
        const renumbered = table === "graph" ? { ...record, id: target, rank$: document.nextRank() } : table === "nodes" ? { .../** @type {NodeRecord} */ (record), type: typed(/** @type {NodeRecord} */ (record).type) } : record;
        tx.put(target, table, renumbered);
      });
    }
    /** @type {Map<Id, Id>} */
    const nodes = new Map();
    for (const node of ranked(source.nodes)) {
      if (document.hasGraph(graph) && contains(document, typed(node.type), graph)) throw new Error(`The subgraph ${node.title ?? node.type} cannot be put into itself.`);
      const id = nextId(document, tx, graph, "nodes");
      nodes.set(node.id, id);
      tx.put(graph, "nodes", { ...node, id, rank$: document.nextRank(), type: typed(node.type), pos: [node.pos[0] + dx, node.pos[1] + dy] });
    }
    /** @type {Id[]} */
    const groups = [];
    for (const group of ranked(source.groups)) {
      const id = nextId(document, tx, graph, "groups");
      const [x, y, w, h] = group.bounding;
      groups.push(id);
      tx.put(graph, "groups", { ...group, id, rank$: document.nextRank(), bounding: [x + dx, y + dy, w, h] });
    }
    /** @type {Map<Id, Id>} */
    const reroutes = new Map();
    for (const reroute of source.reroutes.values()) reroutes.set(reroute.id, nextIdAfter(document, tx, graph, reroutes));
    for (const { parentId, ...reroute } of source.reroutes.values()) {
      const parent = parentId === undefined ? undefined : reroutes.get(parentId);
      /** @type {RerouteRecord} */
      const record = { ...reroute, id: /** @type {Id} */ (reroutes.get(reroute.id)), rank$: document.nextRank(), pos: [reroute.pos[0] + dx, reroute.pos[1] + dy], ...(parent === undefined ? {} : { parentId: parent }) };
      tx.put(graph, "reroutes", record);
    }
    for (const { parentId, ...link } of ranked(source.links)) {
      const [from, to] = [nodes.get(link.from), nodes.get(link.to)];
      if (from === undefined || to === undefined) continue;
      const bend = parentId === undefined ? undefined : reroutes.get(parentId);
      /** @type {LinkRecord} */
      const record = { ...link, id: nextId(document, tx, graph, "links"), rank$: document.nextRank(), from, to, ...(bend === undefined ? {} : { parentId: bend }) };
      tx.put(graph, "links", record);
    }
    const here = document.graph(graph);
    for (const { from, fromSlot, to, toSlot } of incoming) {
      const target = nodes.get(to);
      if (target === undefined || (!here.nodes.has(from) && from !== -10)) continue;
      try {
        connect(document, graph, { node: from, slot: fromSlot }, { node: target, slot: toSlot });
      } catch {
        // what fed it is not what it was; the copy stays without this link
      }
    }
    return { nodes: [...nodes.values()], groups };
  });
}

/** @param {Document} document @param {import("../core/document.js").Transaction} tx @param {string} graph @param {Map<Id, Id>} taken */
function nextIdAfter(document, tx, graph, taken) {
  let id = nextId(document, tx, graph, "reroutes");
  const used = new Set(taken.values());
  while (used.has(id)) id++;
  return id;
}

/** Whether a graph is, or holds somewhere inside, another one. @param {Document} document @param {string} outer @param {string} inner */
function contains(document, outer, inner) {
  return inner !== ROOT && usedBy(document, [outer]).has(inner);
}

/** Definitions that nodes of these types stand for, at any depth. @param {Document} document @param {Iterable<string>} types @returns {Set<string>} */
export function usedBy(document, types) {
  /** @type {Set<string>} */
  const used = new Set();
  const waiting = [...types];
  for (let type = waiting.pop(); type !== undefined; type = waiting.pop()) {
    if (type === ROOT || used.has(type) || !document.hasGraph(type)) continue;
    used.add(type);
    for (const node of document.graph(type).nodes.values()) waiting.push(node.type);
  }
  return used;
}

/** @param {GraphView} view @param {string} name @param {(graph: string, table: Table, record: Readonly<AnyRecord>) => void} put */
function copyGraph(view, name, put) {
  put(name, "graph", { ...view.record, id: name });
  for (const table of TABLES) for (const record of view[table].values()) put(name, table, record);
}
