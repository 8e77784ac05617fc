// The whole graph as a picture, with the workflow inside.

import { writeWorkflow } from "../format/workflow.js";
import { Camera } from "./camera.js";
import { paint } from "./paint.js";
import { SvgBrush } from "./svg_brush.js";

/** @typedef {import("./stage.js").Stage} Stage */

const MARGIN = 60;
const MOST_PIXELS = 8192;

/** @param {Stage} stage @param {"png" | "svg"} [format] @returns {Promise<Blob>} */
export async function picture(stage, format = "png") {
  const extent = stage.scene.extent() ?? [0, 0, 400, 300];
  const camera = new Camera();
  camera.scale = format === "svg" ? 1 : Math.min(1, MOST_PIXELS / (extent[2] + 2 * MARGIN), MOST_PIXELS / (extent[3] + 2 * MARGIN));
  camera.width = Math.ceil((extent[2] + 2 * MARGIN) * camera.scale);
  camera.height = Math.ceil((extent[3] + 2 * MARGIN) * camera.scale);
  camera.centre(extent);
  const look = { ...stage.look(), selected: new Set(), selectedGroups: new Set(), mounted: () => false, ground: null };
  const canvas = document.createElement("canvas");
  if (format === "svg") {
    const brush = new SvgBrush(/** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")));
    paint(/** @type {CanvasRenderingContext2D} */ (/** @type {unknown} */ (brush)), 1, camera, stage.scene, { ...look, grid: false });
    const inside = JSON.stringify({ workflow: writeWorkflow(stage.session.document) }).replaceAll("]]>", "]]\\u003e");
    return new Blob([brush.text(camera.width, camera.height).replace(/(<svg[^>]*>)/, (begin) => `${begin}<metadata><![CDATA[${inside}]]></metadata>`)], { type: "image/svg+xml" });
  }
  canvas.width = camera.width;
  canvas.height = camera.height;
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  paint(ctx, 1, camera, stage.scene, look);
  /** @type {Blob} */
  const png = await new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The browser could not make a picture of this size."))), "image/png"));
  return withText(png, "workflow", JSON.stringify(writeWorkflow(stage.session.document)));
}

/** A PNG with a text in it, the way pictures hold workflows. @param {Blob} png @param {string} key @param {string} text */
async function withText(png, key, text) {
  const ascii = `${key}\0${text.replace(/[^\x20-\x7e]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`)}`;
  const chunk = new Uint8Array(12 + ascii.length);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, ascii.length);
  for (const [i, letter] of [..."tEXt", ...ascii].entries()) chunk[4 + i] = letter.charCodeAt(0);
  view.setUint32(8 + ascii.length, crc(chunk.subarray(4, 8 + ascii.length)));
  const head = 8 + 25; // the signature and the first chunk, which says how large the picture is
  return new Blob([png.slice(0, head), chunk, png.slice(head)], { type: "image/png" });
}

/** The checksum of PNG (ISO 3309). @param {Uint8Array} bytes */
function crc(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}
