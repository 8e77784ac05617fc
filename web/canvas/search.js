// Finding a node to add: by a few letters of its name, category or types; after a link was dropped, what fits comes first.

import { addNode } from "../core/commands/nodes.js";
import { compatible } from "../core/types.js";
import { isWildcard } from "../core/types.js";
import { tellError } from "../shell/toast.js";
import { t } from "../shell/i18n.js";
import { blueprints, placeBlueprint, refreshBlueprints } from "./blueprints.js";
import { rank } from "./fuzzy.js";
import { bestSocket, join } from "./linking.js";
import { openPalette } from "./palette.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./scene.js").SocketHit} SocketHit */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/definitions.js").NodeDefinition} NodeDefinition */
/** @typedef {{type: string, title: string, category: string, definition: NodeDefinition | null, description: string, blueprint?: string}} Entry  `blueprint`: a published subgraph, by its name */

const EDITORS_OWN = [
  { type: "Reroute", title: "Reroute", category: "utils", description: "Bends a link." },
  { type: "PrimitiveNode", title: "Primitive", category: "utils", description: "One value for several inputs." },
  { type: "Note", title: "Note", category: "utils", description: "Plain text." },
  { type: "MarkdownNote", title: "Markdown note", category: "utils", description: "Text with headings, lists and links." },
];
/** Types used lately, newest first. @type {string[]} */
const recent = [];

/** @param {Stage} stage @returns {Entry[]} */
export function entriesOf(stage) {
  const { definitions } = stage.session;
  const known = definitions.types.flatMap((type) => {
    const definition = definitions.get(type);
    return definition && !definition.deprecated ? [{ type, title: definition.title, category: definition.category, description: definition.description, definition }] : [];
  });
  return [...known, ...EDITORS_OWN.map((each) => ({ ...each, definition: null }))];
}

/** Whether a node of this type has something a socket fits. @param {Entry} entry @param {SocketHit} held @returns {number} 2: a socket of the very type, 1: it fits, 0: not */
function fit({ definition, type, blueprint }, held) {
  if (blueprint !== undefined) return 0;
  if (!definition) return type === "Reroute" || (type === "PrimitiveNode" && held.side === "input" && held.widget !== null) ? 1 : 0;
  const types = held.side === "output" ? definition.inputs.map((input) => input.grows?.type ?? input.type) : definition.outputs.map((output) => output.type);
  if (types.some((each) => !isWildcard(each) && !isWildcard(held.type) && compatible(held.side === "output" ? held.type : each, held.side === "output" ? each : held.type))) return 2;
  return types.some((each) => compatible(held.side === "output" ? held.type : each, held.side === "output" ? each : held.type)) ? 1 : 0;
}

/**
 * @param {Stage} stage
 * @param {{at: readonly [number, number], client: {x: number, y: number}, link?: SocketHit | null}} where  `link`: the socket to link the new node to
 */
export function openSearch(stage, { at, client, link = null }) {
  const kept = blueprints(stage.session.api).map((name) => ({ type: name, title: name.split("/").at(-1) ?? name, category: t("Published subgraphs"), description: "", definition: null, blueprint: name }));
  /** @type {Entry[]} */
  const all = [...entriesOf(stage), ...kept];
  void refreshBlueprints(stage.session.api); // for the next time
  const fits = new Map(link ? all.map((entry) => [entry, fit(entry, link)]) : []);
  const candidates = link ? all.filter((entry) => fits.get(entry)) : all;
  const byRecent = (/** @type {Entry} */ entry) => {
    const i = recent.indexOf(entry.type);
    return i < 0 ? 99 : i;
  };
  openPalette({
    label: link ? t("Add a node that fits {type}", { type: String(link.type) }) : t("Add a node"),
    at: client,
    find: (query) => {
      const found = query.trim() === ""
        ? [...candidates].sort((a, b) => (fits.get(b) ?? 0) - (fits.get(a) ?? 0) || byRecent(a) - byRecent(b) || a.category.localeCompare(b.category)).slice(0, 80).map((item) => ({ item, at: /** @type {number[]} */ ([]) }))
        : rank(query, candidates, ({ title, type, category, definition }) => [title, type, category, ...(definition?.outputs.map((output) => String(output.type)) ?? [])])
            .sort((a, b) => b.score + 30 * (fits.get(b.item) ?? 0) - a.score - 30 * (fits.get(a.item) ?? 0));
      return found.map(({ item, at: letters }) => ({ item, label: item.title, detail: item.category, at: letters, tooltip: item.description }));
    },
    take: (entry) => {
      recent.splice(0, recent.length, entry.type, ...recent.filter((type) => type !== entry.type).slice(0, 11));
      if (entry.blueprint !== undefined) placeBlueprint(stage, entry.blueprint, at).catch(tellError);
      else place(stage, entry, at, link);
    },
  });
}

/**
 * Put a node of a type on the canvas and link it.
 * @param {Stage} stage
 * @param {{type: string, definition: NodeDefinition | null}} entry
 * @param {readonly [number, number]} at
 * @param {SocketHit | null} [link]
 * @returns {Id}
 */
export function place(stage, { type, definition }, at, link = null) {
  const { document: graph, selection } = stage.session;
  const name = stage.scene.graph;
  const id = graph.edit("Add node", () => {
    const made = addNode(graph, name, type, definition, { pos: [Math.round(at[0]), Math.round(at[1])], ...shapeOf(type, link) });
    return made;
  }, { merge: "add and link" });
  const item = stage.scene.items.get(id);
  if (item && link) {
    const socket = bestSocket(stage, link, item);
    graph.edit("Add node", () => {
      if (socket) join(stage, link, socket);
      const x = link.side === "input" ? at[0] - item.shape.width : at[0];
      graph.edit("Add node", (tx) => tx.put(name, "nodes", { ...graph.graph(name).node(id), pos: [x, at[1] + 15] }));
    }, { merge: "add and link" });
  }
  graph.seal();
  selection.set([id]);
  stage.say(`${item?.face.title ?? type} added`);
  return id;
}

/** What a node that only the editor knows starts with. @param {string} type @param {SocketHit | null} link */
function shapeOf(type, link) {
  if (type === "Reroute") return { size: /** @type {const} */ ([75, 26]), inputs: [{ name: "", type: link?.type ?? "*" }], outputs: [{ name: "", type: link?.type ?? "*" }], properties: { showOutputText: false, horizontal: false } };
  if (type === "PrimitiveNode") return { size: /** @type {const} */ ([210, 82]), inputs: [], outputs: [{ name: "connect to widget input", type: "*" }], properties: { "Run widget replace on values": false } };
  if (type === "Note" || type === "MarkdownNote") return { size: /** @type {const} */ ([260, 140]), inputs: [], outputs: [], properties: {}, widgets_values: [""], color: "#432", bgcolor: "#653" };
  return {};
}
