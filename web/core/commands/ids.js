// Ids for new records, counted where the file counts them, so that an id is not used twice in the life of a graph.

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").GraphRecord} GraphRecord */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {import("../document.js").Transaction} Transaction */

const COUNTERS = {
  nodes: { old: "last_node_id", state: "lastNodeId" },
  links: { old: "last_link_id", state: "lastLinkId" },
  groups: { old: null, state: "lastGroupId" },
  reroutes: { old: null, state: "lastRerouteId" },
};

/**
 * @param {Document} document
 * @param {Transaction} tx
 * @param {string} graph
 * @param {keyof typeof COUNTERS} table
 * @returns {number}
 */
export function nextId(document, tx, graph, table) {
  const view = document.graph(graph);
  const record = view.record;
  const { old, state } = COUNTERS[table];
  const counters = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (record));
  let id = 1 + Math.max(0, count(record.state?.[state]), old ? count(counters[old]) : 0);
  while (view[table].has(id) || view[table].has(String(id))) id++;
  if (record.state) tx.put(graph, "graph", { ...record, state: { ...record.state, [state]: id }, ...(old && old in record ? { [old]: id } : {}) });
  else if (old) tx.put(graph, "graph", { ...record, [old]: id });
  return id;
}

/** @param {unknown} value */
function count(value) {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : 0;
}
