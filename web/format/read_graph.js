// One graph of a file (the root or a subgraph definition) into patches that create it.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../core/records.js";
import { isType, soundNode, soundSlot } from "./sound.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").Table} Table */
/** @typedef {import("../core/records.js").Patch} Patch */
/** @typedef {import("../core/records.js").Point} Point */
/** @typedef {import("../core/records.js").AnyRecord} AnyRecord */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */
/** @typedef {Record<string, unknown>} Json */
/** @typedef {{message: string, graph: string, node?: Id}} Problem */
/** @typedef {Json & {id: Id, from: Id, fromSlot: number, to: Id, toSlot: number, source: unknown}} FileLink */

const FARTHEST = 1e7;

/**
 * @param {Json} file
 * @param {string} name  of the graph in the document
 * @param {number} rank
 * @param {boolean} isDefinition  of a subgraph
 * @param {Patch[]} patches  added to
 * @param {Problem[]} problems  added to
 */
export function readGraph(file, name, rank, isDefinition, patches, problems) {
  const reader = new GraphReader(name, problems);
  const { nodes: _nodes, links: _links, groups: _groups, floatingLinks: _floating, reroutes: _reroutes, definitions, ...rest } = file;
  /** @type {Json} */
  const record = { ...rest, id: name, rank$: rank };
  if (!isDefinition && "id" in file) record.fileId$ = file.id;
  if (isObject(definitions) && !isDefinition) {
    const { subgraphs: _subgraphs, ...other } = definitions;
    record.definitions = other;
  }
  const extra = isObject(file.extra) ? file.extra : {};
  if (isObject(file.extra)) {
    const { reroutes: _r, linkExtensions: _l, ...other } = extra;
    record.extra = other;
  }
  for (const side of ["inputs", "outputs"]) {
    if (Array.isArray(file[side])) record[side] = file[side].filter(isObject).map((slot) => without(soundSlot(slot), "linkIds"));
    else delete record[side];
  }
  const nodes = reader.nodes(list(file.nodes));
  const fileLinks = reader.links(list(file.links), list(extra.linkExtensions));
  const { links, unclaimed } = reader.claim(nodes, fileLinks);
  if (unclaimed.length) record.unclaimed$ = unclaimed;
  const reroutes = [...list(file.reroutes), ...list(extra.reroutes)];
  reader.emit("graph", [/** @type {AnyRecord} */ (/** @type {unknown} */ (record))], patches);
  reader.emit("nodes", nodes.map(({ record: node }) => node), patches);
  reader.emit("links", links, patches);
  reader.emit("groups", reader.identified(list(file.groups), "Group"), patches);
  reader.emit("reroutes", reader.identified(reroutes, "Reroute").map((each) => without(each, "linkIds")), patches);
  reader.emit("floating", reader.identified(list(file.floatingLinks), "Floating link"), patches);
}

class GraphReader {
  #graph;
  #problems;

  /**
   * @param {string} graph
   * @param {Problem[]} problems
   */
  constructor(graph, problems) {
    this.#graph = graph;
    this.#problems = problems;
  }

  /** @param {string} message @param {Id} [node] */
  #note(message, node) {
    this.#problems.push(node === undefined ? { message, graph: this.#graph } : { message, graph: this.#graph, node });
  }

  /**
   * @param {Table} table
   * @param {readonly AnyRecord[]} records
   * @param {Patch[]} patches
   */
  emit(table, records, patches) {
    for (const after of records) patches.push({ graph: this.#graph, table, id: after.id, before: undefined, after });
  }

  /**
   * Nodes, with the links their inputs name.
   * @param {readonly unknown[]} raw
   * @returns {{record: NodeRecord, claims: unknown[]}[]}
   */
  nodes(raw) {
    const taken = new Set();
    const found = [];
    let free = highest(raw.map((json) => (isObject(json) ? json.id : 0)));
    for (const [i, json] of raw.entries()) {
      if (!isObject(json) || typeof json.type !== "string" || !isId(json.id)) {
        this.#note(`Entry ${i + 1} of the nodes is no node (it has no type or no id) and was left out.`);
        continue;
      }
      let id = json.id;
      if (taken.has(String(id))) {
        id = ++free;
        this.#note(`Two nodes have the id ${json.id}; the second is ${id} now and keeps the links its inputs name.`, id);
      }
      taken.add(String(id));
      /** @type {Json} */
      const record = { ...soundNode(json), id, rank$: i + 1, pos: point(json.pos, [0, 0]), size: point(json.size, [210, 100]) };
      for (const side of ["inputs", "outputs"]) {
        if (json[side] === undefined || json[side] === null || Array.isArray(json[side])) continue;
        this.#note(`The ${side} of node ${id} are no list and were left out.`, id);
        delete record[side];
      }
      if (Array.isArray(json.inputs)) record.inputs = json.inputs.filter(isObject).map((slot) => without(soundSlot(slot), "link"));
      if (Array.isArray(json.outputs)) record.outputs = json.outputs.filter(isObject).map((slot) => without(soundSlot(slot), "links"));
      const claims = Array.isArray(json.inputs) ? json.inputs.filter(isObject).map((slot) => slot.link) : [];
      found.push({ record: /** @type {NodeRecord} */ (/** @type {unknown} */ (record)), claims });
    }
    return found;
  }

  /**
   * Links of either form: an array (0.4) or an object (1).
   * @param {readonly unknown[]} raw
   * @param {readonly unknown[]} extensions  where 0.4 keeps the reroute of a link
   * @returns {FileLink[]}
   */
  links(raw, extensions) {
    const parents = new Map(extensions.filter(isObject).map((each) => [each.id, each.parentId]));
    const found = [];
    for (const [i, json] of raw.entries()) {
      const link = Array.isArray(json) ? linkOfArray(json) : isObject(json) ? linkOfObject(json) : null;
      if (!link || !isId(link.id) || !isId(link.from) || !isId(link.to) || !isPosition(link.fromSlot) || !isPosition(link.toSlot)) {
        if (json !== null) this.#note(`Entry ${i + 1} of the links is no link and was left out.`);
        continue;
      }
      const parentId = link.parentId ?? parents.get(link.id);
      found.push({ ...link, type: isType(link.type) ? link.type : "*", ...(isId(parentId) ? { parentId } : {}), source: json });
    }
    return found;
  }

  /**
   * Join links to inputs. What an input names is right, where a link says it ends may be out of date.
   * @param {{record: NodeRecord, claims: unknown[]}[]} nodes
   * @param {FileLink[]} fileLinks
   * @returns {{links: LinkRecord[], unclaimed: unknown[]}}
   */
  claim(nodes, fileLinks) {
    const ids = new Map(nodes.map(({ record }) => [String(record.id), record.id]));
    const byId = new Map(fileLinks.map((link) => [link.id, link]));
    /** @type {Map<FileLink, {to: Id, toSlot: number}[]>} */
    const ends = new Map();
    for (const { record, claims } of nodes) {
      claims.forEach((claim, toSlot) => {
        if (claim === null || claim === undefined) return;
        const link = byId.get(/** @type {Id} */ (claim));
        if (!link) this.#note(`The input ${record.inputs?.[toSlot].name} names link ${claim}, which the file does not hold.`, record.id);
        else {
          const known = ends.get(link);
          if (known) known.push({ to: record.id, toSlot });
          else ends.set(link, [{ to: record.id, toSlot }]);
        }
      });
    }
    let free = highest(fileLinks.map((link) => link.id));
    /** @type {LinkRecord[]} */
    const links = [];
    const unclaimed = [];
    for (const [i, link] of fileLinks.entries()) {
      const from = Number(link.from) === INPUT_BOUNDARY ? INPUT_BOUNDARY : ids.get(String(link.from));
      const claimed = Number(link.to) === OUTPUT_BOUNDARY ? [{ to: OUTPUT_BOUNDARY, toSlot: link.toSlot }] : (ends.get(link) ?? []);
      if (from === undefined || !claimed.length || byId.get(link.id) !== link) {
        unclaimed.push(link.source);
        if (claimed.length) this.#note(`Link ${link.id} starts at node ${link.from}, which the file does not hold.`, claimed[0].to);
        continue;
      }
      const { source: _source, ...rest } = link;
      claimed.forEach((end, k) => {
        const record = { ...rest, ...end, from, id: k === 0 ? link.id : ++free, rank$: i + 1 + k / claimed.length };
        links.push(/** @type {LinkRecord} */ (/** @type {unknown} */ (record)));
      });
    }
    return { links, unclaimed };
  }

  /**
   * Records that need no more than an id of their own; old groups have none.
   * @param {readonly unknown[]} raw
   * @param {string} what
   * @returns {AnyRecord[]}
   */
  identified(raw, what) {
    const objects = raw.filter(isObject);
    if (objects.length < raw.length) this.#note(`${what}: ${raw.length - objects.length} entries make no sense and were left out.`);
    const taken = new Set();
    let free = highest(objects.map((each) => each.id));
    return objects.map((json, i) => {
      const id = isId(json.id) && !taken.has(json.id) ? json.id : ++free;
      taken.add(id);
      return /** @type {AnyRecord} */ (/** @type {unknown} */ ({ ...json, id, rank$: i + 1, ...shape(json, what) }));
    });
  }
}

/** Points and boxes of a record as arrays, and what a record cannot be drawn without. @param {Json} json @param {string} what @returns {Json} */
function shape(json, what) {
  /** @type {Json} */
  const shaped = {};
  if ("pos" in json || what === "Reroute") shaped.pos = point(json.pos, [0, 0]);
  if ("bounding" in json || what === "Group") {
    const box = isObject(json.bounding) ? [0, 1, 2, 3].map((k) => /** @type {Json} */ (json.bounding)[k]) : json.bounding;
    shaped.bounding = Array.isArray(box) && box.length === 4 && box.every(isPlace) ? box : [0, 0, 140, 80];
  }
  if (what === "Group" && typeof json.title !== "string") shaped.title = String(json.title ?? "");
  return shaped;
}

/** @param {readonly unknown[]} json @returns {FileLink} */
function linkOfArray([id, from, fromSlot, to, toSlot, type, ...more]) {
  const link = { id, from, fromSlot, to, toSlot, type: type ?? "*", ...(more.length ? { more$: more } : {}) };
  return /** @type {FileLink} */ (/** @type {unknown} */ (link));
}

/** @param {Json} json @returns {FileLink} */
function linkOfObject({ id, origin_id, origin_slot, target_id, target_slot, type, ...more }) {
  const link = { id, from: origin_id, fromSlot: origin_slot, to: target_id, toSlot: target_slot, type: type ?? "*", ...more };
  return /** @type {FileLink} */ (/** @type {unknown} */ (link));
}

/** Whether a number is one nodes can lie at: far out, adding to a number no longer changes it. @param {unknown} value @returns {value is number} */
function isPlace(value) {
  return typeof value === "number" && Math.abs(value) < FARTHEST;
}

/** @param {unknown} value @param {Point} fallback @returns {Point} */
function point(value, fallback) {
  const { 0: x, 1: y } = typeof value === "object" && value !== null ? /** @type {Json} */ (value) : /** @type {Json} */ ({});
  return isPlace(x) && isPlace(y) ? [x, y] : fallback;
}

/**
 * @template {object} T
 * @param {T} object
 * @param {string} key
 * @returns {T}
 */
function without(object, key) {
  if (!(key in object)) return object;
  /** @type {Json} */
  const rest = {};
  for (const name of Object.keys(object)) {
    if (name === "__proto__") Object.defineProperty(rest, name, { value: /** @type {Json} */ (object)[name], enumerable: true, configurable: true, writable: true }); // a plain key here, as in the file
    else if (name !== key) rest[name] = /** @type {Json} */ (object)[name];
  }
  return /** @type {T} */ (rest);
}

/** The greatest whole number among ids; 0 where there is none. @param {readonly unknown[]} ids */
function highest(ids) {
  return ids.reduce((/** @type {number} */ most, id) => (Number.isSafeInteger(Number(id)) && Number(id) > most ? Number(id) : most), 0);
}

/** @param {unknown} value @returns {readonly unknown[]} */
function list(value) {
  return Array.isArray(value) ? value : [];
}

/** @param {unknown} value */
function isPosition(value) {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** @param {unknown} value @returns {value is Id} */
function isId(value) {
  return typeof value === "string" || (typeof value === "number" && Number.isFinite(value));
}

/** @param {unknown} value @returns {value is Json} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
