// Subgraphs kept on the server, to be used in any workflow: `subgraphs/NAME.json` among the user's files, each a small file with one instance.

import { copyPart, pastePart } from "../format/clip.js";
import { ask, choose } from "../shell/dialog.js";
import { t } from "../shell/i18n.js";
import { Refused } from "../run/api.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../run/api.js").Api} Api */

const FOLDER = "subgraphs";

/** Names by server, as they were last seen. @type {WeakMap<Api, readonly string[]>} */
const known = new WeakMap();

/** @param {Api} api @returns {readonly string[]} */
export function blueprints(api) {
  return known.get(api) ?? [];
}

/** Ask the server what there is. @param {Api} api */
export async function refreshBlueprints(api) {
  try {
    /** @type {{path: string}[]} */
    const files = await api.get("userdata", { dir: FOLDER, recurse: true, full_info: true, or_empty: true });
    known.set(api, files.filter(({ path }) => path.endsWith(".json")).map(({ path }) => path.slice(0, -".json".length)).sort());
  } catch {
    // without the list the search shows nodes only
  }
}

/** @param {string} name */
const address = (name) => `userdata/${encodeURIComponent(`${FOLDER}/${name}.json`)}`;

/** Keep the subgraph an instance stands for, under a name a person gives. @param {Stage} stage @param {Id} id */
export async function publish(stage, id) {
  const { document: graph, api } = stage.session;
  const node = stage.scene.view.node(id);
  const name = await ask(t("Publish the subgraph"), {
    label: t("Name; a / makes a folder"), value: node.title || String(graph.graph(node.type).record.name ?? ""), action: t("Publish"),
    check: (value) => (/^[^\\:*?"<>|]+$/.test(value) && value.split("/").every((part) => part.trim() && !part.startsWith(".")) ? null : t("A name cannot be empty, begin with a dot or hold any of \\ : * ? \" < > |")),
  });
  if (!name) return;
  const { file } = copyPart(graph, stage.scene.graph, [id]);
  const text = JSON.stringify(file);
  const headers = { "Content-Type": "application/json" };
  try {
    await api.request("POST", address(name), text, { ...headers, "If-None-Match": "*" });
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 412 && error.status !== 409)) throw error;
    const answer = await choose(t("This name is taken"), t("There is a published subgraph {name} already. Workflows that use it keep what they have.", { name }), [
      { answer: "keep", label: t("Leave it"), kind: "primary" },
      { answer: "replace", label: t("Replace it"), kind: "danger" },
    ]);
    if (answer !== "replace") return;
    await api.request("POST", address(name), text, headers);
  }
  await refreshBlueprints(api);
  stage.say(t("{name} can be added to any workflow now, by its name.", { name }));
}

/**
 * Put a published subgraph into the graph.
 * @param {Stage} stage
 * @param {string} name
 * @param {readonly [number, number]} at
 * @returns {Promise<Id | null>} the instance
 */
export async function placeBlueprint(stage, name, at) {
  const { session } = stage;
  const { body } = await session.api.request("GET", address(name));
  const made = pastePart(session.document, stage.scene.graph, body, { at: [at[0], at[1]], label: "Add node" });
  session.selection.set(made.nodes, made.groups);
  stage.say(t("{name} added", { name }));
  return made.nodes[0] ?? null;
}
