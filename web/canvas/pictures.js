// Small copies of what nodes made, for the canvas: seen from afar a node still shows its picture.

/** @typedef {import("../run/state.js").NodeRun} NodeRun */

const SIDE = 256;
const MOST = 120;

export class Pictures {
  /** @type {Map<string, ImageBitmap | null>} null: on its way, or no picture */
  #kept = new Map();
  #ready;

  /** @param {() => void} ready  called when one more can be shown */
  constructor(ready) {
    this.#ready = ready;
  }

  /** @param {Readonly<NodeRun>} run @returns {ImageBitmap | null} */
  of(run) {
    const url = run.preview ?? run.outputs.find(({ kind }) => kind === "image")?.url;
    if (!url) return null;
    const bitmap = this.#kept.get(url);
    if (bitmap === undefined) void this.#fetch(url);
    return bitmap ?? null;
  }

  /** @param {string} url */
  async #fetch(url) {
    this.#kept.set(url, null);
    for (const [old, bitmap] of this.#kept) {
      if (this.#kept.size <= MOST) break;
      bitmap?.close();
      this.#kept.delete(old);
    }
    try {
      const image = new Image();
      image.src = url;
      await image.decode();
      const scale = Math.min(1, SIDE / Math.max(image.naturalWidth, image.naturalHeight));
      const bitmap = await createImageBitmap(image, { resizeWidth: Math.max(1, Math.round(image.naturalWidth * scale)), resizeHeight: Math.max(1, Math.round(image.naturalHeight * scale)) });
      if (!this.#kept.has(url)) return bitmap.close();
      this.#kept.set(url, bitmap);
      this.#ready();
    } catch {
      // no picture after all: the element on the node says so
    }
  }

  clear() {
    for (const bitmap of this.#kept.values()) bitmap?.close();
    this.#kept.clear();
  }
}
