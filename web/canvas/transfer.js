// What comes and goes by the clipboard and by dragging: parts of graphs as text, pictures onto nodes that take them.

import { withWidget } from "../core/widgets.js";
import { addNode } from "../core/commands/nodes.js";
import { isTextField } from "../shell/actions.js";
import { copied, paste } from "./clipboard.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */

/** Types that outputs carry when they are dragged out of a panel. */
const OUTPUT = "application/x-emulsion-output";
const UPLOADS = { image: "image_upload", video: "video_upload", audio: "audio_upload" };
/** What to put a file into when no node was meant. @type {Readonly<Record<string, string>>} */
const LOADERS = { image: "LoadImage", video: "LoadVideo", audio: "LoadAudio" };

/** @param {Stage} stage @returns {() => void} stops listening */
export function listenToTransfer(stage) {
  const { root } = stage;
  const stop = new AbortController();
  const { signal } = stop;
  let withLinks = false;
  const meant = (/** @type {Event} */ event) => !isTextField(event.target) && !(event.target instanceof Element && event.target.closest("dialog, [data-own-keys]")) && (getSelection()?.isCollapsed ?? true);

  document.addEventListener("keydown", (event) => (withLinks = event.shiftKey), { signal, capture: true });
  document.addEventListener("copy", (event) => {
    const text = meant(event) ? copied(stage) : null;
    if (text === null) return;
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
  }, { signal });
  document.addEventListener("cut", (event) => {
    const text = meant(event) ? copied(stage) : null;
    if (text === null) return;
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    stage.session.actions.run("graph.delete");
  }, { signal });
  document.addEventListener("paste", async (event) => {
    if (event.defaultPrevented || !meant(event)) return;
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => kindOfFile(type) !== null);
    if (files.length) {
      event.preventDefault();
      const [id] = stage.session.selection.selected.nodes;
      for (const file of files) await take(stage, id ?? null, file);
      return;
    }
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (text.includes('"clip":true') && paste(stage, text, { links: withLinks, ...(pointerPlace(stage) ?? {}) })) event.preventDefault();
  }, { signal, capture: true });

  root.addEventListener("dragover", (event) => {
    const node = uploadNodeAt(stage, event);
    root.querySelectorAll(".node.dropping").forEach((element) => element.classList.remove("dropping"));
    if (node === null || !carries(event)) return;
    stage.views.get(node)?.element.classList.add("dropping");
    event.preventDefault();
    event.stopPropagation();
    if (event.dataTransfer) event.dataTransfer.dropEffect = "copy";
  }, { signal });
  root.addEventListener("drop", async (event) => {
    root.querySelectorAll(".node.dropping").forEach((element) => element.classList.remove("dropping"));
    const node = uploadNodeAt(stage, event);
    if (node === null || !carries(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const ref = event.dataTransfer?.getData(OUTPUT);
    if (ref) return setFile(stage, node, annotated(JSON.parse(ref)));
    for (const file of event.dataTransfer?.files ?? []) await take(stage, node, file);
  }, { signal });
  return () => stop.abort();
}

/** A picture that was made, as an input of a new node. @param {Stage} stage @param {{filename: string, subfolder: string, type: string}} output @param {readonly [number, number]} pos */
export function loadOutput(stage, output, pos) {
  const { document: graph, definitions, selection } = stage.session;
  const definition = definitions.get(LOADERS.image);
  if (!definition) return;
  graph.edit("Load the picture", () => {
    const id = addNode(graph, stage.scene.graph, definition.type, definition, { pos, size: [300, 320] });
    graph.edit("Load the picture", (tx) => tx.put(stage.scene.graph, "nodes", withWidget(graph.graph(stage.scene.graph).node(id), definition, "image", annotated(output))));
    selection.set([id]);
  });
}

/** Where the mouse points, when it is over the canvas. @param {Stage} stage */
function pointerPlace(stage) {
  return stage.pointer ? { at: stage.toGraph(stage.pointer.x, stage.pointer.y) } : null;
}

/** @param {DragEvent} event */
function carries(event) {
  return event.dataTransfer?.types.includes("Files") === true || event.dataTransfer?.types.includes(OUTPUT) === true;
}

/** @param {Stage} stage @param {DragEvent} event @returns {Id | null} */
function uploadNodeAt(stage, event) {
  const item = stage.scene.nodeAt(...stage.toGraph(event.clientX, event.clientY));
  return item && uploadWidget(stage, item.id) ? item.id : null;
}

/** The widget of a node that takes a file. @param {Stage} stage @param {Id} id */
function uploadWidget(stage, id) {
  return stage.scene.items.get(id)?.face.widgets.find(({ input }) => Object.values(UPLOADS).some((key) => input.options[key] === true));
}

/** @param {string} type  of a file, such as image/png */
function kindOfFile(type) {
  const kind = type.split("/")[0];
  return kind in UPLOADS ? /** @type {keyof typeof UPLOADS} */ (kind) : null;
}

/** Upload a file and show it in a node; without one that takes it, in a new node. @param {Stage} stage @param {Id | null} id @param {File} file */
async function take(stage, id, file) {
  const { api, document: graph, definitions, selection } = stage.session;
  const kind = kindOfFile(file.type);
  if (!kind) return;
  let node = id !== null && uploadWidget(stage, id) ? id : null;
  if (node === null) {
    const definition = definitions.get(LOADERS[kind]);
    if (!definition) return;
    const [x, y, w, h] = stage.camera.visible();
    const pos = stage.pointer ? stage.toGraph(stage.pointer.x, stage.pointer.y) : /** @type {const} */ ([x + w / 2 - 150, y + h / 2 - 150]);
    node = addNode(graph, stage.scene.graph, definition.type, definition, { pos, size: [300, 320] });
    selection.set([node]);
  }
  const name = file.name && file.name !== "image.png" ? file.name : `pasted-${Date.now()}.${file.type.split("/")[1] ?? "png"}`;
  setFile(stage, node, annotated(await api.upload(file, name)));
}

/** @param {Stage} stage @param {Id} id @param {string} value */
function setFile(stage, id, value) {
  const widget = uploadWidget(stage, id);
  if (widget) stage.setWidget(id, widget.name, value, false);
}

/** A file as a value of a node: where it is, in brackets when that is not the input folder. @param {{filename?: string, name?: string, subfolder?: string, type?: string}} ref */
export function annotated({ filename, name, subfolder, type }) {
  const path = [subfolder, filename ?? name].filter(Boolean).join("/");
  return type && type !== "input" ? `${path} [${type}]` : path;
}
