// What a node showed, from the shapes nodes use for it.

/** @typedef {import("./state.js").Output} Output */
/** @typedef {import("./api.js").Api} Api */

const AUDIO = /\.(flac|mp3|opus|ogg|wav|m4a)$/i;
const VIDEO = /\.(mp4|webm|mkv|mov)$/i;
const IMAGE = /\.(png|jpe?g|webp|gif|avif|bmp|svg)$/i;

/**
 * @param {Api} api
 * @param {unknown} output  `{images: [{filename, subfolder, type}], text: [...], ...}`
 * @returns {Output[]}
 */
export function outputsOf(api, output) {
  if (typeof output !== "object" || output === null) return [];
  /** @type {Output[]} */
  const found = [];
  for (const [key, items] of Object.entries(output)) {
    if (!Array.isArray(items)) continue;
    for (const item of items) {
      if (typeof item === "string" && (key === "text" || key === "string")) found.push({ url: "", kind: "text", filename: "", subfolder: "", type: "", text: item });
      else if (isFile(item)) {
        const { filename, subfolder = "", type = "output" } = item;
        found.push({ url: api.viewUrl(item), kind: kindOf(filename, key), filename, subfolder, type });
      }
    }
  }
  return found;
}

/** @param {string} filename @param {string} [key] @returns {Output["kind"]} */
export function kindOf(filename, key = "") {
  if (VIDEO.test(filename)) return "video";
  if (AUDIO.test(filename) || key === "audio") return "audio";
  return IMAGE.test(filename) || key === "images" ? "image" : "file";
}

/** @param {unknown} item @returns {item is import("./api.js").FileRef} */
function isFile(item) {
  return typeof item === "object" && item !== null && typeof (/** @type {any} */ (item).filename) === "string";
}
