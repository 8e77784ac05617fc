// Where one looks at the graph from. Screen units are CSS pixels from the corner of the canvas.

/** @typedef {import("../core/records.js").Box} Box */

export const CLOSEST = 4;
export const FARTHEST = 0.02;

export class Camera {
  /** Graph units at the left and upper edge of the screen. */
  x = 0;
  y = 0;
  /** CSS pixels per graph unit. */
  scale = 1;
  /** Size of the screen in CSS pixels. */
  width = 1;
  height = 1;

  /** @param {number} sx @param {number} sy @returns {[number, number]} */
  toGraph(sx, sy) {
    return [this.x + sx / this.scale, this.y + sy / this.scale];
  }

  /** @param {number} gx @param {number} gy @returns {[number, number]} */
  toScreen(gx, gy) {
    return [(gx - this.x) * this.scale, (gy - this.y) * this.scale];
  }

  /** Move the graph under the eye by screen pixels. @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
  }

  /** Zoom so that what is at a point of the screen stays there. @param {number} sx @param {number} sy @param {number} factor */
  zoomAt(sx, sy, factor) {
    const [gx, gy] = this.toGraph(sx, sy);
    this.scale = Math.min(CLOSEST, Math.max(FARTHEST, this.scale * factor));
    this.x = gx - sx / this.scale;
    this.y = gy - sy / this.scale;
  }

  /** Look at the middle of a box without zooming. @param {Box} box */
  centre([x, y, w, h]) {
    this.x = x + w / 2 - this.width / 2 / this.scale;
    this.y = y + h / 2 - this.height / 2 / this.scale;
  }

  /**
   * Show all of a box.
   * @param {Box} box
   * @param {{margin?: number, closest?: number}} [options]  margin in pixels; never nearer than `closest`
   */
  fit(box, { margin = 40, closest = 1 } = {}) {
    const room = (/** @type {number} */ screen) => Math.max(screen / 2, screen - 2 * margin);
    const scale = Math.min(room(this.width) / Math.max(box[2], 1), room(this.height) / Math.max(box[3], 1));
    this.scale = Math.min(closest, Math.max(FARTHEST, scale));
    this.centre(box);
  }

  /** What is on the screen, in graph units. @param {number} [margin] graph units more on every side @returns {Box} */
  visible(margin = 0) {
    return [this.x - margin, this.y - margin, this.width / this.scale + 2 * margin, this.height / this.scale + 2 * margin];
  }
}
