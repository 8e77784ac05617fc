// A field with a list under it: type to narrow, arrows to choose, Enter to take. Used to find nodes, values and sockets.

import { t } from "../shell/i18n.js";
import { make, uniqueId } from "./dom.js";

/**
 * @template T
 * @typedef {object} Found
 * @property {T} item
 * @property {string} label
 * @property {string} [detail]
 * @property {readonly number[]} [at]  letters of the label that were meant
 * @property {string} [picture]
 * @property {string} [tooltip]
 */
/**
 * @template T
 * @typedef {object} PaletteOptions
 * @property {string} label  what is chosen, for the field and for those who do not see
 * @property {{x: number, y: number}} at  on the page
 * @property {(query: string) => readonly Found<T>[]} find
 * @property {(item: T) => void} take
 * @property {() => void} [closed]  called however it ends
 * @property {string} [note]
 * @property {unknown} [current]  the item that is marked at first
 */

/** @type {(() => void) | null} */
let closeOpen = null;

/**
 * @template T
 * @param {PaletteOptions<T>} options
 * @returns {() => void} closes it
 */
export function openPalette({ label, at, find, take, closed, note, current }) {
  closeOpen?.();
  const before = document.activeElement;
  const list = make("ul", "", null, { role: "listbox", id: uniqueId("list"), "aria-label": label });
  const field = make("input", "", null, {
    type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": list.id, "aria-autocomplete": "list", "aria-label": label, placeholder: label, autocomplete: "off", spellcheck: "false",
  });
  const panel = make("div", "picker", null, { "data-own-keys": "", role: "dialog", "aria-label": label });
  panel.append(field, list);
  if (note) panel.append(make("p", "note", note));
  /** @type {readonly Found<T>[]} */
  let found = [];
  let chosen = 0;

  const close = () => {
    if (closeOpen !== close) return;
    closeOpen = null;
    panel.remove();
    document.removeEventListener("pointerdown", outside, true);
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    closed?.();
  };
  /** @param {Event} event */
  const outside = (event) => {
    if (!panel.contains(/** @type {Node} */ (event.target))) close();
  };
  const mark = () => {
    [...list.children].forEach((row, i) => row.setAttribute("aria-selected", String(i === chosen)));
    const row = list.children[chosen];
    row?.scrollIntoView({ block: "nearest" });
    if (row) field.setAttribute("aria-activedescendant", row.id);
    else field.removeAttribute("aria-activedescendant");
  };
  /** @param {number} i */
  const pick = (i) => {
    const one = found[i];
    if (!one) return;
    close();
    take(one.item);
  };
  const show = () => {
    found = find(field.value);
    list.replaceChildren(...found.map((one, i) => {
      const row = make("li", one.picture ? "pictured" : "", null, { role: "option", id: `${list.id}-${i}` });
      if (one.tooltip) row.title = one.tooltip;
      if (one.picture) {
        const image = make("img", "", null, { alt: "", loading: "lazy" });
        image.addEventListener("error", () => image.removeAttribute("src"));
        image.src = one.picture;
        row.append(image);
      }
      const what = make("span", "what");
      what.append(...marked(one.label, one.at ?? []));
      row.append(what);
      if (one.detail) row.append(make("span", "where", one.detail));
      row.addEventListener("click", () => pick(i));
      row.addEventListener("pointermove", () => {
        if (chosen !== i) {
          chosen = i;
          mark();
        }
      });
      return row;
    }));
    if (!found.length) list.append(make("li", "none", t("Nothing fits."), { role: "option", "aria-disabled": "true", "aria-selected": "false" }));
    mark();
  };
  field.addEventListener("input", () => {
    chosen = 0;
    show();
  });
  panel.addEventListener("keydown", (event) => {
    const page = 8;
    if (event.key === "ArrowDown") chosen = Math.min(found.length - 1, chosen + 1);
    else if (event.key === "ArrowUp") chosen = Math.max(0, chosen - 1);
    else if (event.key === "PageDown") chosen = Math.min(found.length - 1, chosen + page);
    else if (event.key === "PageUp") chosen = Math.max(0, chosen - page);
    else if (event.key === "Enter" && !event.isComposing) pick(chosen);
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return event.stopPropagation();
    event.preventDefault();
    event.stopPropagation();
    mark();
  });
  document.body.append(panel);
  show();
  if (current !== undefined) {
    chosen = Math.max(0, found.findIndex(({ item }) => item === current));
    mark();
  }
  const box = panel.getBoundingClientRect();
  panel.style.left = `${Math.max(8, Math.min(at.x, innerWidth - box.width - 8))}px`;
  panel.style.top = `${Math.max(8, Math.min(at.y, innerHeight - box.height - 8))}px`;
  document.addEventListener("pointerdown", outside, true);
  closeOpen = close;
  field.focus({ preventScroll: true });
  return close;
}

/** @param {string} text @param {readonly number[]} at */
function marked(text, at) {
  if (!at.length) return [text];
  const meant = new Set(at);
  /** @type {(string | HTMLElement)[]} */
  const parts = [];
  for (let i = 0; i < text.length; ) {
    let end = i + 1;
    while (end < text.length && meant.has(end) === meant.has(i)) end++;
    parts.push(meant.has(i) ? make("mark", "", text.slice(i, end)) : text.slice(i, end));
    i = end;
  }
  return parts;
}
