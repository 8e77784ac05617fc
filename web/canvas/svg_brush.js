// A drawing context that writes SVG: the part of the canvas's that the painter uses. So a picture of the graph is sharp at every size.

const SIGNS = Object.freeze({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" });

/** @param {unknown} text  control characters, which XML does not allow, are left out */
function escaped(text) {
  return String(text).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "").replace(/[&<>"']/g, (sign) => /** @type {Record<string, string>} */ (SIGNS)[sign]);
}

/** @param {number} value */
const short = (value) => Number(value.toFixed(2));

export class SvgBrush {
  fillStyle = "#000";
  strokeStyle = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  font = "10px sans-serif";
  textAlign = "left";
  textBaseline = "alphabetic";
  lineCap = "butt";
  /** @type {string[]} */
  #parts = [];
  /** @type {string[]} */
  #path = [];
  /** @type {readonly number[]} */
  #dash = [];
  /** @type {{at: number[], state: Record<string, unknown>}[]} */
  #kept = [];
  /** Scale and place of what is drawn now. */
  #at = [1, 0, 0];
  #ruler;

  /** @param {{font: string, measureText(text: string): {width: number}}} ruler  measures text, as a canvas does */
  constructor(ruler) {
    this.#ruler = ruler;
  }

  /** @param {number} a @param {number} _b @param {number} _c @param {number} _d @param {number} e @param {number} f */
  setTransform(a, _b, _c, _d, e, f) {
    this.#at = [a, e, f];
  }

  save() {
    const { fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, lineCap } = this;
    this.#kept.push({ at: [...this.#at], state: { fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, lineCap } });
  }

  restore() {
    const kept = this.#kept.pop();
    if (!kept) return;
    this.#at = kept.at;
    Object.assign(this, kept.state);
  }

  /** @param {readonly number[]} dash */
  setLineDash(dash) {
    this.#dash = dash;
  }

  beginPath() {
    this.#path = [];
  }

  /** @param {number} x @param {number} y */
  #point(x, y) {
    const [scale, left, top] = this.#at;
    return `${short(x * scale + left)} ${short(y * scale + top)}`;
  }

  /** @param {number} x @param {number} y */
  moveTo(x, y) {
    this.#path.push(`M${this.#point(x, y)}`);
  }

  /** @param {number} x @param {number} y */
  lineTo(x, y) {
    this.#path.push(`${this.#path.length ? "L" : "M"}${this.#point(x, y)}`);
  }

  /** @param {number} a @param {number} b @param {number} c @param {number} d @param {number} x @param {number} y */
  bezierCurveTo(a, b, c, d, x, y) {
    this.#path.push(`C${this.#point(a, b)} ${this.#point(c, d)} ${this.#point(x, y)}`);
  }

  closePath() {
    this.#path.push("Z");
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h */
  rect(x, y, w, h) {
    this.#path.push(`M${this.#point(x, y)}L${this.#point(x + w, y)}L${this.#point(x + w, y + h)}L${this.#point(x, y + h)}Z`);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h @param {number | readonly number[]} radii  one, or those of the corners from the upper left on */
  roundRect(x, y, w, h, radii) {
    const most = Math.min(w, h) / 2;
    const [a, b, c, d] = (typeof radii === "number" ? [radii, radii, radii, radii] : radii).map((radius) => Math.max(0, Math.min(radius, most)));
    /** @param {number} radius @param {number} px @param {number} py */
    const corner = (radius, px, py) => (radius ? `A${short(radius * this.#at[0])} ${short(radius * this.#at[0])} 0 0 1 ${this.#point(px, py)}` : "");
    this.#path.push(
      `M${this.#point(x + a, y)}L${this.#point(x + w - b, y)}${corner(b, x + w, y + b)}L${this.#point(x + w, y + h - c)}${corner(c, x + w - c, y + h)}` +
      `L${this.#point(x + d, y + h)}${corner(d, x, y + h - d)}L${this.#point(x, y + a)}${corner(a, x + a, y)}Z`,
    );
  }

  /** A whole circle, which is all that is asked for. @param {number} x @param {number} y @param {number} radius */
  arc(x, y, radius) {
    const r = short(radius * this.#at[0]);
    this.#path.push(`M${this.#point(x + radius, y)}A${r} ${r} 0 1 1 ${this.#point(x - radius, y)}A${r} ${r} 0 1 1 ${this.#point(x + radius, y)}Z`);
  }

  get #alpha() {
    return this.globalAlpha < 1 ? ` opacity="${short(this.globalAlpha)}"` : "";
  }

  fill() {
    if (this.#path.length) this.#parts.push(`<path d="${this.#path.join("")}" fill="${escaped(this.fillStyle)}"${this.#alpha}/>`);
  }

  stroke() {
    if (!this.#path.length) return;
    const dash = this.#dash.length ? ` stroke-dasharray="${this.#dash.map((length) => short(length * this.#at[0])).join(" ")}"` : "";
    this.#parts.push(`<path d="${this.#path.join("")}" fill="none" stroke="${escaped(this.strokeStyle)}" stroke-width="${short(this.lineWidth * this.#at[0])}"${dash}${this.#alpha}/>`);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h */
  fillRect(x, y, w, h) {
    const kept = this.#path;
    this.#path = [];
    this.rect(x, y, w, h);
    this.fill();
    this.#path = kept;
  }

  /** @param {string} text @param {number} x @param {number} y */
  fillText(text, x, y) {
    if (!String(text).trim()) return;
    const [px, py] = this.#point(x, y).split(" ");
    const anchor = this.textAlign === "right" ? ' text-anchor="end"' : this.textAlign === "center" ? ' text-anchor="middle"' : "";
    const font = this.font.replace(/([\d.]+)px/, (_, size) => `${short(Number(size) * this.#at[0])}px`);
    this.#parts.push(`<text x="${px}" y="${py}" style="font:${escaped(font)}" fill="${escaped(this.fillStyle)}"${this.textBaseline === "middle" ? ' dominant-baseline="central"' : ""}${anchor}${this.#alpha} xml:space="preserve">${escaped(text)}</text>`);
  }

  /** @param {string} text */
  measureText(text) {
    this.#ruler.font = this.font;
    return this.#ruler.measureText(text);
  }

  /** @param {ImageBitmap | HTMLCanvasElement} image @param {number} x @param {number} y @param {number} w @param {number} h */
  drawImage(image, x, y, w, h) {
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [image.width, image.height];
    sheet.getContext("2d")?.drawImage(image, 0, 0);
    const [px, py] = this.#point(x, y).split(" ");
    this.#parts.push(`<image x="${px}" y="${py}" width="${short(w * this.#at[0])}" height="${short(h * this.#at[0])}" href="${sheet.toDataURL("image/jpeg", 0.85)}"/>`);
  }

  /** @param {number} width @param {number} height @returns {string} the file */
  text(width, height) {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">\n${this.#parts.join("\n")}\n</svg>\n`;
  }
}
