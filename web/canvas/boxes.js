// Boxes of nodes: areas of a prompt, text boxes, crops. Which widgets say them, and what picture they lie in.

import { openBoxEditor } from "../widgets/box_editor.js";
import { boxOf } from "../widgets/box.js";
import { fileOf } from "../widgets/file.js";
import { t } from "../shell/i18n.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./scene.js").Item} Item */
/** @typedef {import("./face.js").FaceWidget} FaceWidget */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../widgets/box_editor.js").Box} Box */

const SIDES = /** @type {const} */ (["x", "y", "width", "height"]);
const UNKNOWN = 1024;

/** The four widgets of a node that say a box, or the one that holds it. @param {Item} item @returns {readonly FaceWidget[] | null} */
export function boxWidgets({ face }) {
  const whole = face.widgets.find(({ input }) => input.type === "BOUNDING_BOX");
  if (whole) return [whole];
  const four = SIDES.map((name) => face.widgets.find((widget) => widget.name === name && typeof widget.value === "number" && !widget.fed));
  return four.every((widget) => widget !== undefined) ? /** @type {FaceWidget[]} */ (four) : null;
}

/** @param {readonly FaceWidget[]} widgets @returns {Box} */
function held(widgets) {
  if (widgets.length === 1) return boxOf(widgets[0].value);
  const [x, y, width, height] = widgets.map(({ value }) => Number(value));
  return { x, y, width, height };
}

/** Draw the box of a node. @param {Stage} stage @param {Id} id */
export async function openBox(stage, id) {
  const item = stage.scene.items.get(id);
  const widgets = item && boxWidgets(item);
  if (!item || !widgets) return;
  const shares = widgets.length === 4 && widgets[2].input.type === "FLOAT" && Number(widgets[2].input.options.max) <= 1;
  const others = [...stage.scene.items.values()].flatMap((other) => {
    const its = other.id !== id && other.node.type === item.node.type ? boxWidgets(other) : null;
    return its ? [{ title: textOf(stage, other) || other.face.title, box: held(its) }] : [];
  });
  const { size, picture } = shares ? { size: /** @type {[number, number]} */ ([1, 1]), picture: null } : await pictureOf(stage, item);
  const box = held(widgets);
  const area = /** @type {[number, number]} */ ([Math.max(size[0], picture ? 0 : box.x + box.width), Math.max(size[1], picture ? 0 : box.y + box.height)]);
  const option = (/** @type {number} */ i, /** @type {string} */ key, /** @type {number} */ otherwise) => (widgets.length === 4 ? Number(widgets[i].input.options[key] ?? otherwise) : otherwise);
  openBoxEditor({
    title: t("The box of {node}", { node: item.face.title }), area, picture, box, others, step: option(2, "step", 1) || 1, smallest: [option(2, "min", 1), option(3, "min", 1)],
    done(drawn) {
      const { document: graph } = stage.session;
      graph.edit("Draw the box", (tx) => {
        let node = graph.graph(stage.scene.graph).node(id);
        if (widgets.length === 1) node = widgets[0].write(node, drawn);
        else SIDES.forEach((side, i) => (node = widgets[i].write(node, drawn[side])));
        tx.put(stage.scene.graph, "nodes", node);
      });
    },
  });
}

/** What a text box says. @param {Stage} _stage @param {Item} item */
function textOf(_stage, { face }) {
  const text = face.widgets.find(({ input }) => input.type === "STRING")?.value;
  return typeof text === "string" ? text.slice(0, 40) : "";
}

/**
 * The picture a box lies in: what feeds the node, as far as it is known; else the size that is made somewhere in the graph.
 * @param {Stage} stage
 * @param {Item} item
 * @returns {Promise<{size: [number, number], picture: string | null}>}
 */
async function pictureOf(stage, item) {
  const { linked } = stage.scene.view;
  const seen = new Set([item.id]);
  const waiting = linked.into(item.id).filter(({ type }) => /IMAGE|MASK|LATENT/.test(String(type))).map(({ from }) => from);
  for (let id = waiting.shift(); id !== undefined && seen.size < 200; id = waiting.shift()) {
    const source = stage.scene.items.get(id);
    if (!source || seen.has(id)) continue;
    seen.add(id);
    const shown = stage.run(id).outputs.find(({ kind }) => kind === "image")?.url;
    const file = source.face.widgets.find(({ input }) => input.options.image_upload === true || input.type === "WEBCAM")?.value;
    const url = shown ?? (typeof file === "string" && file ? stage.session.api.viewUrl(fileOf(file)) : null);
    const size = url ? await sizeOf(url) : null;
    if (url && size) return { size, picture: url };
    for (const link of linked.into(id)) waiting.push(link.from);
  }
  for (const other of stage.scene.items.values()) {
    const [width, height] = ["width", "height"].map((name) => other.face.widgets.find((widget) => widget.name === name)?.value);
    const makes = other.face.outputs.some(({ type }) => type === "LATENT" || type === "IMAGE") && !boxWidgets(other);
    if (makes && typeof width === "number" && typeof height === "number" && width > 0 && height > 0) return { size: [width, height], picture: null };
  }
  return { size: [UNKNOWN, UNKNOWN], picture: null };
}

/** @param {string} url @returns {Promise<[number, number] | null>} */
async function sizeOf(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return [image.naturalWidth, image.naturalHeight];
}
