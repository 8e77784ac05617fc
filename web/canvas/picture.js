// The whole graph as a picture.

import { Camera } from "./camera.js";
import { paint } from "./paint.js";

/** @typedef {import("./stage.js").Stage} Stage */

const MARGIN = 60;
const MOST_PIXELS = 8192;

/** @param {Stage} stage @returns {Promise<Blob>} PNG */
export async function picture(stage) {
  const extent = stage.scene.extent() ?? [0, 0, 400, 300];
  const camera = new Camera();
  camera.scale = Math.min(1, MOST_PIXELS / (extent[2] + 2 * MARGIN), MOST_PIXELS / (extent[3] + 2 * MARGIN));
  camera.width = Math.ceil((extent[2] + 2 * MARGIN) * camera.scale);
  camera.height = Math.ceil((extent[3] + 2 * MARGIN) * camera.scale);
  camera.centre(extent);
  const canvas = document.createElement("canvas");
  canvas.width = camera.width;
  canvas.height = camera.height;
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  paint(ctx, 1, camera, stage.scene, { ...stage.look(), selected: new Set(), selectedGroups: new Set(), mounted: () => false });
  return new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The browser could not make a picture of this size."))), "image/png"));
}
