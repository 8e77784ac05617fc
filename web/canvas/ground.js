// The ground with its dots, kept as a picture: moving about copies it instead of drawing thousands of dots anew.

/** @typedef {import("./camera.js").Camera} Camera */
/** @typedef {import("./colours.js").Theme} Theme */

const STEP = 20;
const CLOSEST = 26;

/** The distance of dots in graph units: sparser from afar, so that their number on the screen stays about the same. @param {number} scale */
export function dotStep(scale) {
  let step = STEP;
  while (step * scale < CLOSEST) step *= 2;
  return step;
}

/**
 * Dots at whole multiples of a distance, from a place on.
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} colour
 * @param {number} left @param {number} top  where the first one is
 * @param {number} right @param {number} bottom
 * @param {number} step
 * @param {number} size  of a dot
 */
export function paintDots(ctx, colour, left, top, right, bottom, step, size) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  for (let x = left; x < right; x += step) {
    for (let y = top; y < bottom; y += step) ctx.rect(x - size / 2, y - size / 2, size, size);
  }
  ctx.fill();
}

export class Ground {
  #sheet = document.createElement("canvas");
  #key = "";

  /**
   * Fill a canvas of device pixels with the ground; its transform is the identity.
   * @param {CanvasRenderingContext2D} ctx
   * @param {number} ratio  device pixels per CSS pixel
   * @param {Camera} camera
   * @param {Theme} theme
   */
  draw(ctx, ratio, camera, theme) {
    const scale = camera.scale * ratio;
    const step = dotStep(camera.scale) * scale;
    const [width, height] = [Math.ceil(camera.width * ratio + step) + 1, Math.ceil(camera.height * ratio + step) + 1];
    const key = `${width} ${height} ${step} ${theme.ground} ${theme.dots}`;
    if (key !== this.#key) {
      this.#key = key;
      if (this.#sheet.width !== width || this.#sheet.height !== height) [this.#sheet.width, this.#sheet.height] = [width, height];
      const pen = /** @type {CanvasRenderingContext2D} */ (this.#sheet.getContext("2d", { alpha: false }));
      pen.fillStyle = theme.ground;
      pen.fillRect(0, 0, width, height);
      paintDots(pen, theme.dots, 0, 0, width, height, step, 1.4 * ratio);
    }
    /** @param {number} place */
    const offset = (place) => -Math.round((((place * scale) % step) + step) % step);
    ctx.drawImage(this.#sheet, offset(camera.x), offset(camera.y));
  }
}
