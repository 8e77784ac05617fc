// A note: shown as written text with headings, lists and links, edited as plain text. What is shown is always sanitised first.

import { make } from "../canvas/dom.js";
import { t } from "../shell/i18n.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @type {Promise<(text: string) => DocumentFragment> | null} */
let reader = null;

/** Markdown to elements, without anything that could run or load from elsewhere. */
function markdown() {
  reader ??= Promise.all([import("../vendor/marked/marked.esm.js"), import("../vendor/dompurify/purify.es.mjs")]).then(([{ Marked }, { default: purify }]) => (text) => {
    // pictures would be loaded from anywhere as soon as a file is opened, so they become links
    const marked = new Marked({ breaks: true, renderer: { image: ({ href, text: words }) => `<a href="${escaped(href)}">${escaped(words || href)}</a>` } });
    const fragment = /** @type {DocumentFragment} */ (purify.sanitize(String(marked.parse(text, { async: false })), {
      RETURN_DOM_FRAGMENT: true, FORBID_TAGS: ["img", "picture", "svg", "math", "style", "form", "input", "textarea", "select", "button", "iframe", "video", "audio"], FORBID_ATTR: ["style", "id", "class"],
    }));
    for (const link of fragment.querySelectorAll("a")) {
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
    return fragment;
  });
  return reader;
}

/** @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  host.dataset.tall = "";
  const shown = make("div", "markdown", null, { tabindex: "0", role: "button", "aria-label": t("Note: press Enter to write") });
  const field = make("textarea", "", null, { "aria-label": context.label, spellcheck: "true" });
  field.hidden = true;
  host.append(shown, field);
  const edit = () => {
    shown.hidden = true;
    field.hidden = false;
    field.value = String(context.value ?? "");
    field.focus({ preventScroll: true });
  };
  shown.addEventListener("dblclick", (event) => {
    if (!(event.target instanceof Element && event.target.closest("a"))) edit();
    event.stopPropagation();
  });
  shown.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== shown) return;
    edit();
    event.preventDefault();
    event.stopPropagation();
  });
  field.addEventListener("input", () => context.set(field.value, { merge: true }));
  field.addEventListener("blur", () => {
    context.seal();
    field.hidden = true;
    shown.hidden = false;
    void display();
  });
  let last = "";
  const display = async () => {
    const text = String(context.value ?? "");
    if (text === last && shown.childNodes.length) return;
    last = text;
    if (text.trim() === "") return shown.replaceChildren(make("p", "note", t("An empty note. Click twice to write.")));
    const read = await markdown();
    if (last === text) shown.replaceChildren(read(text));
  };
  return {
    update() {
      if (document.activeElement === field) {
        if (field.value !== context.value) field.value = String(context.value ?? "");
      } else void display();
    },
    destroy() {},
  };
}

register("MARKDOWN", { create, height: 76, grows: true });
