// What scripts of node packs import from scripts/utils.js and scripts/pnginfo.js.

import { download } from "../files/download.js";
import { el } from "../shell/dom.js";

/** @param {Blob} file @returns {Promise<any>} what the server finds in it */
async function metadataOf(file) {
  const { body } = await /** @type {any} */ (globalThis).app.page.api.request("POST", "workflow/convert", file, { "Content-Type": "application/octet-stream" });
  return Object.fromEntries(Object.entries(body).filter(([name]) => name === "workflow" || name === "prompt").map(([name, value]) => [name, JSON.stringify(value)]));
}

export const pnginfo = { getPngMetadata: metadataOf, getWebpMetadata: metadataOf, getFlacMetadata: metadataOf, getAvifMetadata: metadataOf, getLatentMetadata: metadataOf, importA1111() {} };

export const utils = {
  /** @param {string} address  next to the script that asks @param {string} base */
  addStylesheet(address, base) {
    document.head.append(el("link", { attributes: { rel: "stylesheet", href: base ? new URL(address, base).href : address } }));
    return Promise.resolve();
  },
  /** @param {string} name @param {Blob} blob */
  downloadBlob: (name, blob) => download(blob, name),
  /** @param {any} value */
  clone: (value) => structuredClone(value),
  /** @param {any} _app @param {string} text */
  applyTextReplacements: (_app, text) => text,
  prop(/** @type {any} */ target, /** @type {string} */ name, /** @type {any} */ value, /** @type {any} */ onChange) {
    let now = value;
    Object.defineProperty(target, name, {
      get: () => now,
      set(next) {
        const before = now;
        now = next;
        onChange?.(next, before, target, name);
      },
    });
    return value;
  },
  getStorageValue: (/** @type {string} */ name) => localStorage.getItem(name),
  setStorageValue: (/** @type {string} */ name, /** @type {string} */ value) => localStorage.setItem(name, value),
};
