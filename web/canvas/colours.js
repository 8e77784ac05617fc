// Colours of the graph: the theme's, read from the style sheet so that the painter and the page agree, and one for every socket type.

/** @typedef {import("../core/records.js").SlotType} SlotType */
import { isWildcard, typeNames } from "../core/types.js";

/** Hue and saturation by type; all get the lightness of the theme. @type {Readonly<Record<string, readonly [number, number]>>} */
const TYPES = {
  MODEL: [262, 55], CLIP: [50, 90], VAE: [2, 85], CONDITIONING: [30, 95], LATENT: [318, 75], IMAGE: [210, 85], MASK: [140, 45],
  CLIP_VISION: [190, 55], CLIP_VISION_OUTPUT: [200, 45], CONTROL_NET: [165, 60], STYLE_MODEL: [90, 50], UPSCALE_MODEL: [245, 60],
  NOISE: [0, 0], GUIDER: [185, 70], SAMPLER: [75, 60], SIGMAS: [95, 55], AUDIO: [150, 70], VIDEO: [225, 65],
  INT: [175, 40], FLOAT: [155, 35], STRING: [100, 30], BOOLEAN: [15, 45], COMBO: [40, 25],
};
/** Colours a person can give a node or a group: title and body, the same in every theme of this kind of file. */
export const SWATCHES = Object.freeze([
  { name: "Red", color: "#5c2e33", bgcolor: "#43262a", group: "#a4545c" },
  { name: "Brown", color: "#574231", bgcolor: "#3f3227", group: "#a67c52" },
  { name: "Yellow", color: "#54502b", bgcolor: "#3d3b24", group: "#a39a45" },
  { name: "Green", color: "#2f5238", bgcolor: "#263d2c", group: "#57a069" },
  { name: "Teal", color: "#285052", bgcolor: "#223c3e", group: "#479c9f" },
  { name: "Blue", color: "#2d4468", bgcolor: "#26354d", group: "#5684c4" },
  { name: "Purple", color: "#473765", bgcolor: "#362c4c", group: "#8a6cc4" },
  { name: "Pink", color: "#5e3355", bgcolor: "#442941", group: "#b565a4" },
  { name: "Grey", color: "#484652", bgcolor: "#36343e", group: "#85828f" },
]);

/**
 * @typedef {object} Theme
 * @property {boolean} dark
 * @property {string} ground @property {string} dots
 * @property {string} node @property {string} head @property {string} edge @property {string} field
 * @property {string} ink @property {string} soft
 * @property {string} accent @property {string} bad @property {string} good @property {string} busy
 */

/** @param {Element} host @returns {Theme} */
export function readTheme(host) {
  const style = getComputedStyle(host);
  /** @param {string} name */
  const value = (name) => style.getPropertyValue(`--${name}`).trim() || "gray";
  return {
    dark: style.colorScheme.includes("dark"),
    ground: value("ground"), dots: value("grid"), node: value("node"), head: value("node-head"), edge: value("node-edge"), field: value("field"),
    ink: value("ink"), soft: value("soft"), accent: value("accent"), bad: value("bad"), good: value("good"), busy: value("warn"),
  };
}

/** @type {Map<string, string>} */
const toned = new Map();

/**
 * A colour from a file as a ground for the theme's letters: its hue, dark enough in a dark theme and light enough in a light one.
 * @param {string} colour  "#rgb" or "#rrggbb"
 * @param {boolean} dark
 * @param {"head" | "body"} part
 * @returns {string | null} null when it is no such colour
 */
export function tone(colour, dark, part) {
  const key = `${colour}${dark}${part}`;
  let kept = toned.get(key);
  if (kept !== undefined) return kept || null;
  const short = /^#([\da-f])([\da-f])([\da-f])$/i.exec(colour);
  const long = /^#([\da-f]{2})([\da-f]{2})([\da-f]{2})$/i.exec(colour);
  const parts = (short ? short.slice(1).map((digit) => digit + digit) : long?.slice(1))?.map((digits) => parseInt(digits, 16) / 255);
  kept = parts ? atLightness(parts, dark, part) : "";
  if (toned.size > 2000) toned.clear();
  toned.set(key, kept);
  return kept || null;
}

/** @param {readonly number[]} rgb @param {boolean} dark @param {"head" | "body"} part */
function atLightness([r, g, b], dark, part) {
  const [low, high] = [Math.min(r, g, b), Math.max(r, g, b)];
  const span = high - low;
  const own = (low + high) / 2;
  const sector = high === r ? (g - b) / span : high === g ? 2 + (b - r) / span : 4 + (r - g) / span;
  const saturation = span === 0 ? 0 : span / (1 - Math.abs(2 * own - 1));
  const lightness = dark ? (part === "head" ? Math.min(0.32, Math.max(0.19, own)) : Math.min(0.25, Math.max(0.14, own))) : part === "head" ? 0.82 : 0.92;
  return `hsl(${span === 0 ? 0 : Math.round(60 * ((sector + 6) % 6))} ${Math.round(100 * Math.min(saturation, dark ? 1 : 0.6))}% ${Math.round(100 * lightness)}%)`;
}

/** @type {Map<SlotType, string>[]} asked for at every frame, so kept */
const known = [new Map(), new Map()];

/** The colour of a socket type and of links that carry it. @param {SlotType} type @param {boolean} dark @returns {string} */
export function colourOf(type, dark) {
  const kept = known[dark ? 1 : 0];
  let colour = kept.get(type);
  if (colour === undefined) {
    colour = mixed(type, dark);
    if (kept.size > 2000) kept.clear();
    kept.set(type, colour);
  }
  return colour;
}

/** @param {SlotType} type @param {boolean} dark */
function mixed(type, dark) {
  if (isWildcard(type)) return dark ? "hsl(260 8% 70%)" : "hsl(260 8% 42%)";
  const name = typeNames(type)[0] ?? "";
  const [hue, saturation] = TYPES[name] ?? [hashed(name), 45];
  return dark ? `hsl(${hue} ${saturation}% 68%)` : `hsl(${hue} ${Math.min(70, saturation)}% 40%)`;
}

/** @param {string} name */
function hashed(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) % 3600;
  return hash / 10;
}
