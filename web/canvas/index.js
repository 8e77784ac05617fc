// The canvas of one open workflow: everything above put together, and what the rest of the page may ask of it.

import "../widgets/index.js";
import { insertOnLink } from "../core/commands/rewire.js";
import { ROOT } from "../core/records.js";
import { refreshBlueprints } from "./blueprints.js";
import { Crumbs } from "./crumbs.js";
import { listenToFocus, focusNode } from "./keyboard.js";
import { Minimap } from "./minimap.js";
import { SelectionBar } from "./selection_bar.js";
import { openSearch } from "./search.js";
import { listenToPointers } from "./pointer.js";
import { Stage } from "./stage.js";
import { listenToTransfer } from "./transfer.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../session.js").Session} Session */
/**
 * @typedef {object} Canvas
 * @property {() => void} destroy
 * @property {(ids?: Iterable<Id>) => void} fit  show everything, or some nodes
 * @property {(id: Id) => void} centre  bring a node into view, and near enough to read
 * @property {(id: Id) => void} focus  the same, and put the focus on it
 * @property {(factor: number) => void} zoom
 * @property {import("./camera.js").Camera} camera
 * @property {(clientX: number, clientY: number) => [number, number]} toGraph
 * @property {(graph: string, within?: readonly Id[]) => void} enter  a subgraph, by the instances that lead to it or else by some that do; ROOT leads out
 * @property {(name: string, listener: (detail: any) => void) => () => void} on  "search", "view" (pictures to look at), "entered", "camera", "changed"
 * @property {(kind?: "png" | "svg") => Promise<Blob>} picture  the whole graph, with the workflow inside
 * @property {() => void} definitionsChanged
 * @property {import("./stage.js").Stage} stage  for the rooms of the canvas
 */

/** @type {readonly import("../shell/settings.js").Definition[]} */
const SETTINGS = [
  { key: "canvas.grid", title: "Dots in the background", group: "Canvas", kind: "boolean", default: true },
  { key: "canvas.snap", title: "Snap to the grid", tooltip: "Alt turns it around while you drag", group: "Canvas", kind: "boolean", default: false },
  { key: "canvas.gridSize", title: "Distance of the grid", group: "Canvas", kind: "number", default: 20, min: 5, max: 200, step: 5 },
  { key: "canvas.links", title: "Links", group: "Canvas", kind: "choice", default: "curved", choices: [{ value: "curved", title: "Curved" }, { value: "straight", title: "Straight" }, { value: "hidden", title: "Hidden" }] },
  { key: "canvas.leftDrag", title: "Dragging over the background", group: "Canvas", kind: "choice", default: "pan", choices: [{ value: "pan", title: "Moves the graph" }, { value: "select", title: "Selects" }] },
  { key: "canvas.wheel", title: "The wheel", group: "Canvas", kind: "choice", default: "zoom", choices: [{ value: "zoom", title: "Zooms" }, { value: "pan", title: "Moves the graph" }] },
  { key: "canvas.minimap", title: "Minimap", group: "Canvas", kind: "boolean", default: false },
  { key: "canvas.locked", title: "Lock the graph", tooltip: "Nothing can be moved or linked by accident; values can be changed", group: "Canvas", kind: "boolean", default: false },
  { key: "canvas.selectionBar", title: "Bar over selected nodes", tooltip: "When several nodes are selected", group: "Canvas", kind: "boolean", default: true },
  { key: "canvas.modelPictures", title: "Pictures beside models", group: "Canvas", kind: "boolean", default: true },
];

/**
 * @param {HTMLElement} host
 * @param {Session} session
 * @returns {Canvas}
 */
export function mountCanvas(host, session) {
  session.settings.register(...SETTINGS);
  const stage = new Stage(host, session);
  const crumbs = new Crumbs(stage);
  const minimap = new Minimap(stage);
  const bar = new SelectionBar(stage);
  void refreshBlueprints(session.api);
  const stops = [
    listenToPointers(stage),
    listenToFocus(stage),
    listenToTransfer(stage),
    stage.on("search", (detail) => {
      const before = new Set(stage.scene.items.keys());
      openSearch(stage, detail);
      if (detail.onLink === undefined) return;
      const stop = session.document.subscribe(() => {
        const added = [...stage.scene.items.keys()].find((id) => !before.has(id));
        stop();
        if (added !== undefined) queueMicrotask(() => insertOnLink(session.document, stage.scene.graph, added, detail.onLink, session.definitions.get(stage.scene.view.node(added).type)));
      });
    }),
    stage.on("view", async (detail) => (await import("./viewer.js")).openViewer(detail.outputs, detail.at)),
  ];
  return {
    stage,
    camera: stage.camera,
    fit: (ids) => stage.fit(ids),
    centre: (id) => stage.centre(id),
    focus: (id) => focusNode(stage, id),
    zoom(factor) {
      stage.camera.zoomAt(stage.camera.width / 2, stage.camera.height / 2, factor);
      stage.moved();
    },
    toGraph: (x, y) => stage.toGraph(x, y),
    enter(graph, within) {
      const path = within ?? (graph === ROOT ? [] : pathTo(session, graph));
      if (path) stage.enter(path);
    },
    on: (name, listener) => stage.on(name, listener),
    picture: async (kind = "png") => (await import("./picture.js")).picture(stage, kind),
    definitionsChanged: () => stage.definitionsChanged(),
    destroy() {
      for (const stop of stops) stop();
      crumbs.destroy();
      minimap.destroy();
      bar.destroy();
      stage.destroy();
    },
  };
}

/** The instances that lead to a subgraph. @param {Session} session @param {string} wanted @returns {Id[] | null} */
function pathTo({ document: graph }, wanted) {
  const seen = new Set([ROOT]);
  /** @type {{name: string, path: Id[]}[]} */
  const waiting = [{ name: ROOT, path: [] }];
  for (let at = waiting.shift(); at; at = waiting.shift()) {
    if (at.name === wanted) return at.path;
    for (const node of graph.graph(at.name).nodes.values()) {
      if (seen.has(node.type) || !graph.hasGraph(node.type)) continue;
      seen.add(node.type);
      waiting.push({ name: node.type, path: [...at.path, node.id] });
    }
  }
  return null;
}
