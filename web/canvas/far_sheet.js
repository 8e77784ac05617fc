// The graph from afar, kept as a picture larger than the screen: moving about copies it instead of painting thousands of nodes anew.

import { Camera } from "./camera.js";

const MARGIN = 0.2; // of the screen, on every side

export class FarSheet {
  #sheet = document.createElement("canvas");
  #held = new Camera();
  #ratio = 0;

  /** What was painted is no longer how things look. */
  drop() {
    this.#ratio = 0;
  }

  /**
   * Show the graph; `paint` is called where the picture does not reach. Places are rounded to device pixels.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} ratio  device pixels per CSS pixel
   * @param {Camera} camera
   * @param {(ctx: CanvasRenderingContext2D, camera: Camera) => void} paint
   */
  draw(ctx, ratio, camera, paint) {
    if (!this.#covers(ratio, camera)) this.#take(ratio, camera, paint);
    const place = (/** @type {number} */ held, /** @type {number} */ seen) => Math.round((held - seen) * camera.scale * ratio);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.drawImage(this.#sheet, place(this.#held.x, camera.x), place(this.#held.y, camera.y));
  }

  /** @param {number} ratio @param {Camera} camera */
  #covers(ratio, camera) {
    const held = this.#held;
    if (ratio !== this.#ratio || held.scale !== camera.scale) return false;
    const [x, y, w, h] = camera.visible();
    const [left, top, width, height] = held.visible();
    return x >= left && y >= top && x + w <= left + width && y + h <= top + height;
  }

  /** @param {number} ratio @param {Camera} camera @param {(ctx: CanvasRenderingContext2D, camera: Camera) => void} paint */
  #take(ratio, camera, paint) {
    const [x, y, w, h] = camera.visible((MARGIN * Math.max(camera.width, camera.height)) / camera.scale);
    Object.assign(this.#held, { x, y, scale: camera.scale, width: w * camera.scale, height: h * camera.scale });
    const [width, height] = [Math.ceil(this.#held.width * ratio), Math.ceil(this.#held.height * ratio)];
    if (this.#sheet.width !== width || this.#sheet.height !== height) [this.#sheet.width, this.#sheet.height] = [width, height];
    paint(/** @type {CanvasRenderingContext2D} */ (this.#sheet.getContext("2d", { alpha: false })), this.#held);
    this.#ratio = ratio;
  }
}
