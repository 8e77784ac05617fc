// Dialogs: a frame of their own, and the small ones that ask something.

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

/**
 * @param {string} title
 * @param {{class?: string, foot?: readonly (Node | string)[]}} [options]
 * @param {...(Node | string | null | false)} body
 * @returns {{dialog: HTMLDialogElement, body: HTMLElement, close: () => void, closed: Promise<void>}}
 */
export function openDialog(title, { class: kind = "", foot = [] } = {}, ...body) {
  const id = `dialog-${Math.random().toString(36).slice(2)}`;
  const inside = el("div", { class: "dialog-body", attributes: { tabindex: -1 } }, ...body);
  const close = () => dialog.close();
  const dialog = el(
    "dialog",
    { class: kind, attributes: { "aria-labelledby": id } },
    el(
      "div",
      { class: "dialog-head" },
      el("h2", { id }, title),
      el("button", { class: "quiet square", attributes: { type: "button", "aria-label": t("Close") }, on: { click: close } }, icon("close")),
    ),
    inside,
    foot.length > 0 && el("div", { class: "dialog-foot" }, ...foot),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) close(); // the ground around it
  });
  /** @type {Promise<void>} */
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
  });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, body: inside, close, closed };
}

/**
 * Ask for one of several answers.
 * @template {string} A
 * @param {string} title
 * @param {string} text
 * @param {readonly {answer: A, label: string, kind?: "primary" | "danger"}[]} answers
 * @returns {Promise<A | null>} null when it was closed
 */
export async function choose(title, text, answers) {
  /** @type {A | null} */
  let chosen = null;
  const buttons = answers.map(({ answer, label, kind = "" }) =>
    el("button", {
      class: kind,
      attributes: { type: "button", autofocus: kind === "primary" },
      on: {
        click: () => {
          chosen = answer;
          frame.close();
        },
      },
    }, label),
  );
  const frame = openDialog(title, { foot: buttons }, el("p", {}, text));
  await frame.closed;
  return chosen;
}

/**
 * Ask for a text.
 * @param {string} title
 * @param {{label: string, value?: string, action: string, check?: (value: string) => string | null}} options  `check` says what is wrong with it
 * @returns {Promise<string | null>}
 */
export async function ask(title, { label, value = "", action, check = () => null }) {
  /** @type {string | null} */
  let given = null;
  const problem = el("p", { class: "problem-text", attributes: { role: "alert" } });
  const field = el("input", { attributes: { type: "text", "aria-label": label, autofocus: true, spellcheck: "false" }, set: { value } });
  const accept = () => {
    const wrong = field.value.trim() ? check(field.value.trim()) : t("This cannot be empty.");
    problem.textContent = wrong ?? "";
    if (wrong) return;
    given = field.value.trim();
    frame.close();
  };
  field.addEventListener("keydown", (event) => event.key === "Enter" && accept());
  const frame = openDialog(
    title,
    {
      foot: [
        el("button", { attributes: { type: "button" }, on: { click: () => frame.close() } }, t("Cancel")),
        el("button", { class: "primary", attributes: { type: "button" }, on: { click: accept } }, action),
      ],
    },
    el("p", { class: "soft" }, label),
    field,
    problem,
  );
  field.focus();
  field.select();
  await frame.closed;
  return given;
}
