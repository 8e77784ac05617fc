// Completion in prompts: names of embeddings after "embedding:", offered below the cursor.

import { make, uniqueId } from "../canvas/dom.js";
import { rank } from "../canvas/fuzzy.js";

/** @type {Promise<readonly string[]> | null} */
let embeddings = null;

/**
 * @param {HTMLTextAreaElement} field
 * @param {import("./registry.js").WidgetContext} context
 * @returns {{close(): void}}
 */
export function attach(field, context) {
  /** @type {HTMLUListElement | null} */
  let list = null;
  let chosen = 0;
  const close = () => {
    list?.remove();
    list = null;
    field.removeAttribute("aria-activedescendant");
    field.removeAttribute("aria-controls");
  };
  /** What is being written: the part after "embedding:". */
  const written = () => /embedding:([^\s,()]*)$/.exec(field.value.slice(0, field.selectionStart));
  /** @param {string} name */
  const take = (name) => {
    const part = written();
    if (!part) return close();
    const from = field.selectionStart - part[1].length;
    field.setRangeText(name, from, field.selectionStart, "end");
    context.set(field.value, { merge: true });
    close();
  };
  const show = async () => {
    const part = written();
    if (!part) return close();
    embeddings ??= /** @type {Promise<readonly string[]>} */ (context.session.api.get("embeddings").catch(() => []));
    const names = await embeddings;
    if (document.activeElement !== field || !written()) return close();
    const found = rank(part[1], names, (name) => [name], 12).map(({ item }) => item);
    if (!found.length) return close();
    close();
    list = make("ul", "", null, { role: "listbox", id: uniqueId("list"), "aria-label": "Embeddings" });
    chosen = 0;
    const panel = make("div", "picker");
    list.append(...found.map((name, i) => {
      const row = make("li", "", name, { role: "option", id: `${list?.id}-${i}`, "aria-selected": String(i === 0) });
      row.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        take(name);
      });
      return row;
    }));
    panel.append(list);
    const shown = list;
    const remove = shown.remove.bind(shown);
    shown.remove = () => {
      remove();
      panel.remove();
    };
    const box = field.getBoundingClientRect();
    panel.style.left = `${box.left}px`;
    panel.style.top = `${box.bottom + 4}px`;
    document.body.append(panel);
    field.setAttribute("aria-controls", shown.id);
  };
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    if (!list) return;
    const rows = [...list.children];
    if (event.key === "ArrowDown") chosen = Math.min(rows.length - 1, chosen + 1);
    else if (event.key === "ArrowUp") chosen = Math.max(0, chosen - 1);
    else if (event.key === "Enter" || event.key === "Tab") take(rows[chosen].textContent ?? "");
    else if (event.key === "Escape") close();
    else return;
    rows.forEach((row, i) => row.setAttribute("aria-selected", String(i === chosen)));
    field.setAttribute("aria-activedescendant", rows[chosen].id);
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  field.addEventListener("input", show);
  field.addEventListener("keydown", onKey, { capture: true });
  field.addEventListener("blur", close);
  return { close };
}
