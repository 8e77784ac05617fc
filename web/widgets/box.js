// A box within a picture, kept as {x, y, width, height}.

import { make } from "../canvas/dom.js";
import { t } from "../shell/i18n.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @param {unknown} value @returns {import("./box_editor.js").Box} */
export function boxOf(value) {
  const given = typeof value === "object" && value !== null ? /** @type {Record<string, unknown>} */ (value) : {};
  /** @param {string} key @param {number} otherwise */
  const number = (key, otherwise) => (typeof given[key] === "number" && Number.isFinite(given[key]) ? /** @type {number} */ (given[key]) : otherwise);
  return { x: number("x", 0), y: number("y", 0), width: number("width", 512), height: number("height", 512) };
}

/** @param {unknown} value */
function words(value) {
  const { x, y, width, height } = boxOf(value);
  return `${width} × ${height} @ ${x}, ${y}`;
}

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  const row = make("div", "row");
  const button = make("button", "pick", null, { type: "button", "aria-haspopup": "dialog" });
  row.append(make("span", "", context.label), button);
  host.append(row);
  button.addEventListener("click", () => context.session.actions.run("graph.box", { id: context.node.id, name: context.input.name }));
  return {
    update() {
      button.textContent = words(context.value);
      button.disabled = context.fed;
      button.setAttribute("aria-label", `${context.label}: ${words(context.value)}. ${t("Draw the box")}`);
    },
    destroy() {},
  };
}

register("BOUNDING_BOX", { create });
