// Copy, paste and duplicate. The clipboard of the system holds a small file, so that other tabs and programs can read it.

import { copyPart, pastePart } from "../format/clip.js";
import { kindOf } from "../format/workflow.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */

/** What was copied last in this page: knows more than the text, namely what fed it. @type {{text: string, incoming: import("../format/clip.js").Incoming[], document: unknown, graph: string} | null} */
let last = null;
let pasted = 0;

/** What is selected, as the text of a small file. @param {Stage} stage @returns {string | null} null when nothing is */
export function copied(stage) {
  const { selection, document: graph } = stage.session;
  const { nodes, groups } = selection.selected;
  if (!nodes.size && !groups.size) return null;
  const { file, incoming } = copyPart(graph, stage.scene.graph, nodes, groups);
  const text = JSON.stringify(file);
  last = { text, incoming, document: graph, graph: stage.scene.graph };
  pasted = 0;
  return text;
}

/**
 * Paste a text if it is a graph.
 * @param {Stage} stage
 * @param {string} text
 * @param {{at?: readonly [number, number], links?: boolean}} [options]  `links`: also what fed the originals
 * @returns {boolean} whether it was one
 */
export function paste(stage, text, { at, links = false } = {}) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    return false;
  }
  if (kindOf(file) !== "workflow") return false;
  const { document: graph } = stage.session;
  const own = last?.text === text && last.document === graph && last.graph === stage.scene.graph;
  pasted = own ? pasted + 1 : 0;
  const [x, y, w, h] = stage.camera.visible();
  const place = at ? { at } : own ? { dx: 40 * pasted, dy: 40 * pasted } : { at: /** @type {[number, number]} */ ([x + w * 0.3, y + h * 0.3]) };
  const made = pastePart(graph, stage.scene.graph, file, { ...place, incoming: links && own && last ? last.incoming : [] });
  stage.session.selection.set(made.nodes, made.groups);
  stage.say(`${made.nodes.length} nodes pasted`);
  return true;
}

/** Copy what is selected beside itself, fed by what feeds the originals; the copies are selected then. @param {Stage} stage @param {readonly [number, number]} [by] */
export function duplicate(stage, [dx, dy] = [40, 40]) {
  const { selection, document: graph } = stage.session;
  const { nodes, groups } = selection.selected;
  if (!nodes.size && !groups.size) return;
  const { file, incoming } = copyPart(graph, stage.scene.graph, nodes, groups);
  const made = pastePart(graph, stage.scene.graph, file, { dx, dy, incoming, label: "Duplicate" });
  selection.set(made.nodes, made.groups);
}
