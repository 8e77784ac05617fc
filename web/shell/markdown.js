// Markdown as elements. What it makes of text from outside is cleaned before it comes near the page: nothing in it can run.

import createPurify from "../vendor/dompurify/purify.es.mjs";
import { Marked } from "../vendor/marked/marked.esm.js";

const marked = new Marked({ gfm: true, breaks: true });
const FORBIDDEN = { FORBID_TAGS: ["style", "form", "input", "button", "textarea", "select", "svg", "math", "iframe"], FORBID_ATTR: ["style", "id", "name", "class"], ALLOW_DATA_ATTR: false, RETURN_DOM_FRAGMENT: true };

/** @param {string} text @returns {HTMLElement} */
export function markdown(text) {
  const box = document.createElement("div");
  box.className = "markdown";
  const fragment = createPurify.sanitize(String(marked.parse(String(text).slice(0, 200_000), { async: false })), FORBIDDEN);
  box.append(/** @type {Node} */ (/** @type {unknown} */ (fragment)));
  for (const link of box.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const image of box.querySelectorAll("img")) image.loading = "lazy";
  return box;
}
