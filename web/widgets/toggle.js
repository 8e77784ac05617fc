// On and off.

import { make } from "../canvas/dom.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  const row = make("label");
  const box = make("input", "", null, { type: "checkbox", role: "switch", "aria-label": context.label });
  const words = make("span", "state");
  row.append(make("span", "", context.label), words, box);
  host.append(row);
  box.addEventListener("change", () => context.set(box.checked));
  return {
    update() {
      const { label_on: on, label_off: off } = context.input.options;
      box.checked = context.value === true;
      box.disabled = context.fed;
      words.textContent = typeof on === "string" && typeof off === "string" ? (box.checked ? on : off) : "";
    },
    destroy() {},
  };
}

register("BOOLEAN", { create });
