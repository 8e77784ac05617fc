// Tidy up: a layered layout, worked out by a library beside the page so that the page stays quick.

import { placeNodes } from "../core/commands/nodes.js";
import { t } from "../shell/i18n.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */

/** @param {Stage} stage  what is selected when it is more than one node, else everything */
export async function tidy(stage) {
  const { selection, document: graph } = stage.session;
  const name = stage.scene.graph;
  const chosen = selection.selected.nodes.size > 1 ? selection.selected.nodes : new Set(stage.scene.items.keys());
  const items = [...chosen].flatMap((id) => stage.scene.items.get(id) ?? []).filter(({ node, face }) => node.flags?.pinned !== true && face.kind !== "note");
  if (items.length < 2) return;
  const ids = new Map(items.map(({ id }, i) => [id, i]));
  const nodes = items.map(({ bounds }) => ({ width: bounds[2] - bounds[0], height: bounds[3] - bounds[1] }));
  const links = [...stage.scene.view.links.values()].flatMap(({ from, to }) => (ids.has(from) && ids.has(to) ? [[/** @type {number} */ (ids.get(from)), /** @type {number} */ (ids.get(to))]] : []));
  const places = await layered(nodes, links);
  const [left, top] = [Math.min(...items.map(({ bounds }) => bounds[0])), Math.min(...items.map(({ bounds }) => bounds[1]))];
  /** @type {Map<Id, [number, number]>} */
  const moved = new Map();
  items.forEach(({ id, shape }, i) => {
    if (stage.scene.items.has(id)) moved.set(id, [Math.round(left + places[i][0]), Math.round(top + places[i][1] + shape.title)]);
  });
  placeNodes(graph, name, moved, "Tidy up");
  if (chosen.size === stage.scene.items.size) stage.fit();
  stage.say(t("Tidied up"));
}

/**
 * @param {readonly {width: number, height: number}[]} nodes
 * @param {readonly (readonly number[])[]} links  pairs of positions among the nodes
 * @returns {Promise<[number, number][]>} upper left corners
 */
function layered(nodes, links) {
  return new Promise((done, failed) => {
    const worker = new Worker(new URL("./tidy_worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => {
      worker.terminate();
      done(data);
    };
    worker.onerror = (event) => {
      worker.terminate();
      failed(new Error(`The layout could not be worked out: ${event.message}`));
    };
    worker.postMessage({ nodes, links });
  });
}
