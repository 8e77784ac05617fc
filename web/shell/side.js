// The rail of panels at the edge, and the panel that is open. A panel's code is loaded when it is first opened.

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{element: HTMLElement, tools?: readonly HTMLElement[], destroy?: () => void}} Panel */
/** @typedef {{id: string, title: string, icon: string, load: () => Promise<{create: (app: App) => Panel}>, key?: string}} PanelKind */

const NARROWEST = 240;
const WIDEST = 640;

export class Side {
  /** @type {PanelKind[]} */
  #kinds = [];
  /** @type {Map<string, HTMLButtonElement>} */
  #buttons = new Map();
  /** @type {{id: string, panel: Panel | null} | null} */
  #open = null;
  #rail;
  #place;
  /** @type {App | null} */
  #app = null;

  /** @param {HTMLElement} rail @param {HTMLElement} place @param {readonly PanelKind[]} kinds */
  constructor(rail, place, kinds) {
    this.#rail = rail;
    this.#place = place;
    for (const kind of kinds) this.add(kind);
  }

  /** @param {App} app */
  start(app) {
    this.#app = app;
    app.settings.register({ key: "side.open", title: "Open panel", kind: "hidden", local: true, default: "" }, { key: "side.width", title: "Width of the panel", kind: "hidden", local: true, default: 320 });
    const open = app.settings.get("side.open");
    if (open && innerWidth > 736) this.open(open);
  }

  /** @param {PanelKind} kind */
  add(kind) {
    this.#kinds.push(kind);
    const button = el(
      "button",
      { attributes: { type: "button", "aria-label": t(kind.title), title: t(kind.title), "aria-pressed": "false" }, on: { click: () => this.toggle(kind.id) } },
      icon(kind.icon, 20),
    );
    this.#buttons.set(kind.id, button);
    const gap = this.#rail.querySelector(".gap");
    this.#rail.insertBefore(button, gap);
  }

  get kinds() {
    return this.#kinds;
  }

  get shown() {
    return this.#open?.id ?? null;
  }

  /** A number at a panel's button; 0 takes it away. @param {string} id @param {number} count @param {boolean} [bad] */
  badge(id, count, bad = false) {
    const button = this.#buttons.get(id);
    if (!button) return;
    button.querySelector(".badge")?.remove();
    const kind = this.#kinds.find((each) => each.id === id);
    button.setAttribute("aria-label", count ? `${t(kind?.title ?? id)} (${count})` : t(kind?.title ?? id));
    if (count) button.append(el("span", { class: bad ? "badge bad" : "badge", attributes: { "aria-hidden": "true" } }, count > 99 ? "99+" : count));
  }

  /** @param {string} id */
  toggle(id) {
    if (this.#open?.id === id) this.close();
    else this.open(id);
  }

  close() {
    const id = this.#open?.id;
    this.#open?.panel?.destroy?.();
    this.#open = null;
    this.#place.replaceChildren();
    this.#place.hidden = true;
    for (const button of this.#buttons.values()) button.setAttribute("aria-pressed", "false");
    this.#app?.settings.set("side.open", "");
    if (id && this.#place.contains(document.activeElement)) this.#buttons.get(id)?.focus();
  }

  /** @param {string} id */
  async open(id) {
    const kind = this.#kinds.find((each) => each.id === id);
    const app = this.#app;
    if (!kind || !app || this.#open?.id === id) return;
    this.#open?.panel?.destroy?.();
    const opening = { id, panel: /** @type {Panel | null} */ (null) };
    this.#open = opening;
    const title = `side-${id}`;
    if (this.#place.hidden) this.#place.replaceChildren(el("div", { class: "side-head" }, el("h2", { id: title }, t(kind.title)))); // its room at once: the graph is fitted into what is left
    this.#place.hidden = false;
    this.#place.style.width = `${Math.min(WIDEST, Math.max(NARROWEST, app.settings.get("side.width")))}px`;
    const { create } = await kind.load();
    if (this.#open !== opening) return;
    opening.panel = create(app);
    const grip = el("div", { class: "side-grip", on: { pointerdown: (event) => this.#resize(event) } });
    this.#place.replaceChildren(
      el(
        "div",
        { class: "side-head" },
        el("h2", { id: title }, t(kind.title)),
        ...(opening.panel.tools ?? []),
        el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": t("Close the panel") }, on: { click: () => this.close() } }, icon("close", 16)),
      ),
      el("div", { class: "side-body" }, opening.panel.element),
      grip,
    );
    this.#place.setAttribute("aria-labelledby", title);
    for (const [each, button] of this.#buttons) button.setAttribute("aria-pressed", String(each === id));
    app.settings.set("side.open", id);
  }

  /** @param {PointerEvent} event */
  #resize(event) {
    const grip = /** @type {HTMLElement} */ (event.target);
    const from = this.#place.offsetWidth - event.clientX;
    grip.setPointerCapture(event.pointerId);
    /** @param {PointerEvent} move */
    const onMove = (move) => {
      this.#place.style.width = `${Math.min(WIDEST, Math.max(NARROWEST, from + move.clientX))}px`;
    };
    grip.addEventListener("pointermove", onMove);
    grip.addEventListener(
      "pointerup",
      () => {
        grip.removeEventListener("pointermove", onMove);
        this.#app?.settings.set("side.width", this.#place.offsetWidth);
      },
      { once: true },
    );
  }
}
