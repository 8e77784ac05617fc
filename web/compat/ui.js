// The small page parts node packs build with: $el, dialogs, buttons.

import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { markdown } from "../shell/markdown.js";
import { t } from "../shell/i18n.js";

/**
 * $el("div.class#id", {textContent: "x", onclick, style: {}, dataset: {}, parent, $: (element) => {}}, [children])
 * @param {string} tag @param {any} [properties] @param {any} [children]
 * @returns {any}
 */
export function $el(tag, properties, children) {
  const [name, ...classes] = tag.split(".");
  const element = /** @type {any} */ (document.createElement(name || "div"));
  if (classes.length) element.classList.add(...classes);
  let own = properties;
  let inside = children;
  if (typeof own === "string" || Array.isArray(own) || own instanceof Element) [own, inside] = [{}, own];
  const { parent, $: done, dataset, style, for: forId, ...rest } = own ?? {};
  if (forId) element.setAttribute("for", forId);
  if (typeof style === "string") element.style.cssText = style;
  else Object.assign(element.style, style ?? {});
  Object.assign(element.dataset, dataset ?? {});
  Object.assign(element, rest);
  if (inside !== undefined && inside !== null) element.append(...(Array.isArray(inside) ? inside : [inside]).filter((each) => each !== null && each !== undefined && each !== false));
  parent?.append(element);
  done?.(element);
  return element;
}

/** A box over the page. `show` takes elements; text with markup is cleaned first. */
export class ComfyDialog extends EventTarget {
  /** @param {string} [type] @param {any[] | null} [buttons] */
  constructor(type = "div", buttons = null) {
    super();
    this.buttons = buttons;
    this.textElement = document.createElement("div");
    this.element = /** @type {any} */ (document.createElement(type));
    this.element.className = "comfy-modal";
    this.element.append(this.textElement);
    /** @type {ReturnType<typeof openDialog> | null} */
    this.frame = null;
  }

  createButtons() {
    return this.buttons ?? [$el("button", { type: "button", textContent: t("Close"), onclick: () => this.close() })];
  }

  close() {
    this.frame?.close();
    this.frame = null;
    this.dispatchEvent(new Event("close"));
  }

  /** @param {any} html */
  show(html) {
    if (typeof html === "string") this.textElement.replaceChildren(markdown(html));
    else if (html) this.textElement.replaceChildren(...(Array.isArray(html) ? html : [html]));
    this.frame?.close();
    this.frame = openDialog(t("Node pack"), { foot: this.createButtons() }, this.element);
    this.element.style.display = "";
  }
}

/** A button with an icon and a text. */
export class ComfyButton {
  /** @param {{content?: any, tooltip?: string, action?: () => void, classList?: any, enabled?: boolean, icon?: string}} [options] */
  constructor({ content = "", tooltip = "", action, enabled = true } = {}) {
    this.element = el("button", { class: "quiet", attributes: { type: "button", title: tooltip, "aria-label": tooltip || (typeof content === "string" ? content : null) } }, typeof content === "string" ? content : null);
    if (content instanceof Element) this.element.append(content);
    this.element.disabled = !enabled;
    this.element.addEventListener("click", () => (this.action ?? action)?.());
    /** @type {(() => void) | undefined} */
    this.action = action;
  }

  /** @param {any} _popup */
  withPopup(_popup) {
    return this;
  }
}

/** Buttons in a row. */
export class ComfyButtonGroup {
  /** @param {...any} buttons */
  constructor(...buttons) {
    this.buttons = buttons;
    this.element = el("div", { class: "row" }, ...buttons.map((each) => each.element ?? each));
  }

  /** @param {any} button */
  append(button) {
    this.buttons.push(button);
    this.element.append(button.element ?? button);
  }
}
