// Text of one line, and the fallback for values no other widget shows: those are edited as JSON.

import { make } from "../canvas/dom.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  const row = make("label");
  const field = make("input", "", null, { type: "text", autocomplete: "off", "aria-label": context.label });
  row.append(make("span", "", context.label), field);
  host.append(row);
  const plain = () => typeof context.value === "string" || context.value === null || context.value === undefined;
  const shown = () => (plain() ? String(context.value ?? "") : JSON.stringify(context.value));
  field.addEventListener("input", () => {
    if (plain()) return context.set(field.value, { merge: true });
    try {
      context.set(JSON.parse(field.value), { merge: true });
      field.classList.remove("bad");
    } catch {
      field.classList.add("bad"); // not JSON yet: the value stays as it was
    }
  });
  field.addEventListener("blur", () => {
    context.seal();
    field.value = shown();
    field.classList.remove("bad");
  });
  return {
    update() {
      field.disabled = context.fed;
      if (document.activeElement !== field || plain()) if (field.value !== shown()) field.value = shown();
    },
    destroy() {},
  };
}

register("STRING", { create });
register("JSON", { create });
