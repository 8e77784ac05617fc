// Short notes at the edge of the page: what happened, and what can be done about it.

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

/** @type {HTMLElement | null} */
let holder = null;

/** Where they appear; also what a screen reader listens to. @param {HTMLElement} parent */
export function mountToasts(parent) {
  holder = el("div", { class: "toasts", attributes: { role: "status", "aria-live": "polite" } });
  parent.append(holder);
}

/**
 * @param {string} text
 * @param {{kind?: "info" | "good" | "warn" | "bad", hint?: string, seconds?: number, actions?: readonly {label: string, run: () => unknown}[]}} [options]
 *   `seconds`: 0 stays until it is closed
 * @returns {() => void} closes it
 */
export function toast(text, { kind = "info", hint = "", seconds = kind === "bad" ? 12 : 5, actions = [] } = {}) {
  const close = () => note.remove();
  const note = el(
    "div",
    { class: `toast ${kind}` },
    el(
      "div",
      {},
      el("p", {}, text),
      hint && el("p", { class: "soft" }, hint),
      actions.length > 0 &&
        el("div", { class: "actions" }, ...actions.map(({ label, run }) => el("button", { class: "small", attributes: { type: "button" }, on: { click: () => (close(), run()) } }, label))),
    ),
    el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": t("Close") }, on: { click: close } }, icon("close", 14)),
  );
  const same = [...(holder?.children ?? [])].find((each) => each.textContent === note.textContent);
  same?.remove();
  holder?.append(note);
  if (seconds && !actions.length) setTimeout(close, seconds * 1000);
  return close;
}

/** Say an error as a sentence. @param {unknown} error */
export function tellError(error) {
  const message = error instanceof Error ? error.message : String(error);
  const hint = /** @type {any} */ (error)?.error?.extra_info?.hint ?? /** @type {any} */ (error)?.error?.details ?? "";
  toast(message, { kind: "bad", hint: hint === message ? "" : String(hint) });
}
