// A bar over several selected nodes with what one mostly does to them together.

import { icon } from "../shell/icons.js";
import { openMenu } from "../shell/menu.js";
import { t } from "../shell/i18n.js";
import { SWATCHES } from "./colours.js";
import { make } from "./dom.js";

/** @typedef {import("./stage.js").Stage} Stage */

const LEAST = 2;
const ABOVE = 48;
const HOWS = ["left", "right", "top", "bottom", "rows", "columns"];

export class SelectionBar {
  #due = 0;

  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    this.element = make("div", "selection-bar", null, { role: "toolbar", "aria-label": t("What to do with the selected nodes"), "data-own-pointer": "" });
    const { actions } = stage.session;
    for (const [id, name] of [["graph.bypass", "bypass"], ["graph.collapse", "collapse"], ["graph.group", "frame"], ["graph.subgraph", "subgraph"]]) this.#add(name, () => actions.get(id)?.title ?? id, () => actions.run(id));
    this.#add("align", () => "Align and distribute", (button) => openMenu(HOWS.map((how) => ({ label: t(actions.get(`graph.align.${how}`)?.title ?? how), run: () => actions.run(`graph.align.${how}`) })), button));
    this.#add("palette", () => "Colour", (button) => openMenu([{ label: t("As the theme has it"), run: () => actions.run("graph.colour", null) }, ...SWATCHES.map((swatch) => ({ label: t(swatch.name), run: () => actions.run("graph.colour", swatch) }))], button));
    this.#add("run", () => "Run only the selected outputs", () => actions.run("run.selected"), "run.selected");
    this.#add("trash", () => "Delete", () => actions.run("graph.delete"));
    stage.overlay.append(this.element);
    this.stops = [
      stage.on("drawn", () => this.place()), stage.session.selection.subscribe(() => this.place()),
      stage.session.settings.subscribe("canvas.selectionBar", () => this.place()),
    ];
    this.place();
  }

  /** @param {string} picture @param {() => string} title @param {(button: HTMLButtonElement) => unknown} run @param {string} [needs]  an action that must be possible */
  #add(picture, title, run, needs) {
    const button = make("button", "", null, { type: "button", ...(needs ? { "data-needs": needs } : {}) });
    button.append(icon(picture, 18));
    button.addEventListener("click", () => run(button));
    button.addEventListener("pointerenter", () => (button.title = t(title())));
    button.setAttribute("aria-label", t(title()));
    this.element.append(button);
  }

  /** Over what is selected, within the screen; away while something is being moved. */
  place() {
    const { stage } = this;
    const { nodes } = stage.session.selection.selected;
    const shown = nodes.size >= LEAST && stage.session.settings.get("canvas.selectionBar") !== false && !stage.held.size && !stage.root.classList.contains("panning") && !stage.root.classList.contains("linking");
    clearTimeout(this.#due);
    if (!shown) {
      this.element.hidden = true;
      return;
    }
    this.#due = setTimeout(() => {
      const box = stage.scene.extent(nodes);
      if (!box) return;
      for (const button of this.element.querySelectorAll("[data-needs]")) /** @type {HTMLElement} */ (button).hidden = !stage.session.actions.can(button.getAttribute("data-needs") ?? "");
      this.element.hidden = false;
      const { offsetWidth: width, offsetHeight: height } = this.element;
      const [left, top] = stage.camera.toScreen(box[0], box[1]);
      const middle = left + (box[2] * stage.camera.scale) / 2;
      const x = Math.max(8, Math.min(stage.camera.width - width - 8, middle - width / 2));
      const y = Math.max(8, Math.min(stage.camera.height - height - 8, top - ABOVE));
      this.element.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
    }, 80);
  }

  destroy() {
    clearTimeout(this.#due);
    for (const stop of this.stops) stop();
    this.element.remove();
  }
}
