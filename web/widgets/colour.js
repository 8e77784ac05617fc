// A colour: a swatch that opens the browser's own picker. Kept as "#rrggbb", or as a number where the input is one.

import { make } from "../canvas/dom.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @param {unknown} value */
function hex(value) {
  if (typeof value === "number") return `#${(value & 0xffffff).toString(16).padStart(6, "0")}`;
  return /^#[\da-f]{6}$/i.test(String(value)) ? String(value) : "#000000";
}

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  const row = make("label");
  const code = make("span", "code");
  const field = make("input", "", null, { type: "color", "aria-label": context.label });
  row.append(make("span", "", context.label), code, field);
  host.append(row);
  const number = context.input.type === "INT";
  field.addEventListener("input", () => context.set(number ? parseInt(field.value.slice(1), 16) : field.value, { merge: true }));
  field.addEventListener("change", () => context.seal());
  return {
    update() {
      field.value = hex(context.value);
      code.textContent = hex(context.value);
      field.disabled = context.fed;
    },
    destroy() {},
  };
}

register("COLOR", { create }, (input) => input.type === "INT" && input.options.display === "color");
