// Palettes a person makes or brings: colours by role over one of the themes, read from files with care, and measured for contrast.

import { t } from "./i18n.js";

/** @typedef {"dark" | "light" | "contrast"} Base */
/** @typedef {{name: string, base: Base, colors: Record<string, string>}} Palette  `colors`: "#rrggbb" by role; the theme has the others */
/** @typedef {{front: string, back: string, ratio: number, least: number}} Weak  two colours that are too much alike */

export const MOST_PALETTES = 50;
/** The roles of themes.css that are plain colours. @type {Readonly<Record<string, string>>} */
export const ROLES = Object.freeze({
  "ground": "Ground", "grid": "Dots", "panel": "Panels", "raised": "Fields and buttons", "hover": "Under the pointer", "line": "Lines", "edge": "Strong lines",
  "ink": "Text", "soft": "Quiet text", "accent": "Accent", "on-accent": "Text on the accent", "accent-ground": "What is chosen",
  "bad": "Problems", "bad-ground": "Behind problems", "good": "Success", "warn": "Warnings", "warn-ground": "Behind warnings",
  "node": "Nodes", "node-head": "Titles of nodes", "node-edge": "Edges of nodes", "field": "Values on nodes", "link": "Links of any type",
}); // prettier-ignore

const BASES = ["dark", "light", "contrast"];
/** Text needs 4.5 to 1, the outlines of things 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11). */
const TEXT = 4.5;
const OUTLINE = 3;
/** @type {readonly (readonly [front: string, backs: readonly string[], least: number])[]} */
const PAIRS = [
  ["ink", ["ground", "panel", "raised", "hover", "node", "node-head", "field", "accent-ground", "bad-ground", "warn-ground"], TEXT],
  ["soft", ["ground", "panel", "raised", "hover", "node", "node-head", "field"], TEXT],
  ["on-accent", ["accent"], TEXT],
  ["accent", ["panel"], TEXT],
  ["bad", ["panel", "bad-ground"], TEXT],
  ["good", ["panel", "node-head"], TEXT],
  ["warn", ["panel"], TEXT],
  ["accent", ["ground", "node"], OUTLINE],
  ["edge", ["ground", "panel"], OUTLINE],
];
/** Where ComfyUI's palettes keep what our roles stand for. @type {Readonly<Record<string, readonly [part: string, name: string]>>} */
const FOREIGN = {
  "ground": ["litegraph_base", "CLEAR_BACKGROUND_COLOR"], "panel": ["comfy_base", "comfy-menu-bg"], "raised": ["comfy_base", "comfy-input-bg"], "field": ["comfy_base", "comfy-input-bg"],
  "line": ["comfy_base", "border-color"], "ink": ["comfy_base", "input-text"], "soft": ["comfy_base", "descrip-text"], "bad": ["comfy_base", "error-text"],
  "node": ["litegraph_base", "NODE_DEFAULT_BGCOLOR"], "node-head": ["litegraph_base", "NODE_DEFAULT_COLOR"], "link": ["litegraph_base", "LINK_COLOR"],
}; // prettier-ignore

/**
 * A palette from a file: our own, or one of ComfyUI's, of which it takes what has a counterpart.
 * @param {unknown} json
 * @returns {Palette & {ignored: string[]}} `ignored`: names that are no role, or hold no colour
 * @throws {TypeError} with a sentence, when there is no palette in it
 */
export function readPalette(json) {
  const file = /** @type {any} */ (json);
  const given = file?.colors;
  if (!given || typeof given !== "object" || Array.isArray(given)) throw new TypeError(t("This file is no palette: it has no list of colours under “colors”."));
  const foreign = given.comfy_base || given.litegraph_base;
  const named = foreign ? Object.fromEntries(Object.entries(FOREIGN).map(([role, [part, name]]) => [role, given[part]?.[name]]).filter(([, colour]) => colour)) : given;
  /** @type {Record<string, string>} */
  const colors = {};
  /** @type {string[]} */
  const ignored = [];
  for (const [key, value] of Object.entries(named)) {
    const role = key.replace(/^--/, "");
    const colour = plain(value);
    if (Object.hasOwn(ROLES, role) && colour) colors[role] = colour;
    else ignored.push(key);
  }
  if (!Object.keys(colors).length && (foreign || ignored.length)) throw new TypeError(t("This palette has no colour that is used here. Colours are written as #rrggbb, by role, such as “ground” or “ink”."));
  const light = foreign ? file.light_theme === true : colors.ground !== undefined && luminance(colors.ground) > 0.3;
  const base = /** @type {Base} */ (BASES.includes(file.base) ? file.base : light ? "light" : "dark");
  return { name: String(file.name ?? "").trim().slice(0, 60) || t("Palette"), base, colors, ignored };
}

/** Palettes from the settings, which any program may have written. @param {unknown} kept @returns {Palette[]} */
export function readPalettes(kept) {
  return (Array.isArray(kept) ? kept.slice(0, MOST_PALETTES) : []).flatMap((each) => {
    try {
      const { name, base, colors } = readPalette(each);
      return [{ name, base, colors }];
    } catch {
      return [];
    }
  });
}

/** Which colours are too much alike to be told apart or read. @param {Readonly<Record<string, string>>} colors  all roles @returns {Weak[]} the worst first */
export function weakPairs(colors) {
  return PAIRS.flatMap(([front, backs, least]) => backs.map((back) => ({ front, back, least, ratio: contrast(colors[front], colors[back]) })))
    .filter(({ ratio, least }) => ratio < least)
    .sort((a, b) => a.ratio / a.least - b.ratio / b.least);
}

/** How far two colours are apart, 1 to 21 (WCAG 2.2, contrast ratio). @param {string} a  "#rrggbb" @param {string} b */
export function contrast(a, b) {
  const [dark, bright] = [luminance(a), luminance(b)].sort((one, other) => one - other);
  return (bright + 0.05) / (dark + 0.05);
}

/** Relative luminance of sRGB, 0 to 1. @param {string} colour */
function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** "#abc" and "#AABBCC" as "#aabbcc"; "" for what is no such colour. @param {unknown} value */
export function plain(value) {
  const text = String(value).trim().toLowerCase();
  if (/^#[\da-f]{6}$/.test(text)) return text;
  return /^#[\da-f]{3}$/.test(text) ? `#${[...text.slice(1)].map((digit) => digit + digit).join("")}` : "";
}
