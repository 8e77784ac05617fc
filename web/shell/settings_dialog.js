// Every setting of the editor and of what has added some, with a search.

import { el, freshId } from "./dom.js";
import { openDialog } from "./dialog.js";
import { t } from "./i18n.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./settings.js").Definition} Definition */

/** @param {App} app */
export function openSettings(app) {
  const { settings } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the settings"), placeholder: t("Search the settings"), autofocus: true } });
  const list = el("div", { class: "settings" });
  const draw = () => {
    const words = search.value.trim().toLowerCase();
    const shown = settings.list().filter(({ kind, title, key, tooltip = "", group = "" }) => kind !== "hidden" && `${t(title)} ${title} ${key} ${t(tooltip)} ${t(group)}`.toLowerCase().includes(words));
    const groups = [...new Set(shown.map(({ group = "General" }) => group))];
    list.replaceChildren(...groups.flatMap((group) => [el("h3", {}, t(group)), ...shown.filter((each) => (each.group ?? "General") === group).map((each) => drawSetting(app, each))]));
    if (!shown.length) list.append(el("p", { class: "note" }, t("Nothing fits the search.")));
  };
  search.addEventListener("input", draw);
  draw();
  openDialog(t("Settings"), { class: "wide" }, el("div", { class: "search" }, search), list);
}

/** @param {App} app @param {Definition} definition */
function drawSetting({ settings }, definition) {
  const { key, title, tooltip, kind, choices = [], min, max, step } = definition;
  const id = freshId("setting");
  const value = settings.get(key);
  /** @type {HTMLInputElement | HTMLSelectElement} */
  let control;
  if (kind === "choice") {
    control = el("select", { id }, ...choices.map((choice) => {
      const { value: one, title: name } = typeof choice === "string" ? { value: choice, title: choice } : choice;
      return el("option", { attributes: { value: one }, set: { selected: one === value } }, t(name));
    }));
  } else if (kind === "boolean") control = el("input", { id, attributes: { type: "checkbox" }, set: { checked: Boolean(value) } });
  else control = el("input", { id, attributes: { type: kind === "number" ? "number" : "text", min, max, step: step ?? (kind === "number" ? "any" : null) }, set: { value: String(value ?? "") } });
  control.addEventListener("change", () => {
    if (control instanceof HTMLSelectElement) settings.set(key, control.value);
    else if (kind === "boolean") settings.set(key, control.checked);
    else if (kind !== "number") settings.set(key, control.value);
    else if (!Number.isNaN(control.valueAsNumber)) {
      const bounded = Math.min(max ?? Infinity, Math.max(min ?? -Infinity, control.valueAsNumber));
      control.value = String(bounded);
      settings.set(key, bounded);
    }
  });
  return el("div", { class: "setting" }, el("div", {}, el("label", { attributes: { for: id } }, t(title)), tooltip && el("span", { class: "hint" }, t(tooltip))), el("div", { class: "control" }, control));
}
