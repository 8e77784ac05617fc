// Every command by typing a few letters of it.

import { el, freshId } from "./dom.js";
import { t } from "./i18n.js";
import { shownKey } from "./keys.js";
import { ranked } from "./match.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{group: string, title: string, keys: readonly string[], run: () => void}} Choice */

/** @param {App} app */
export function openPalette(app) {
  const { actions, workspace } = app;
  /** @type {Choice[]} */
  const all = [
    ...actions.list().filter(({ id }) => id !== "view.palette" && actions.can(id)).map(({ id, group = "", title }) => ({ group: t(group), title: t(title), keys: actions.keysOf(id), run: () => void actions.run(id) })),
    ...workspace.tabs.filter((tab) => tab !== workspace.active).map((tab) => ({ group: t("Tab"), title: tab.name, keys: [], run: () => workspace.activate(tab) })),
  ];
  const id = freshId("palette");
  const list = el("div", { id, attributes: { role: "listbox", "aria-label": t("Commands") } });
  const field = el("input", { attributes: { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": id, "aria-label": t("Type a command"), placeholder: t("Type a command"), autocomplete: "off", spellcheck: "false" } });
  const dialog = el("dialog", { class: "palette", attributes: { "aria-label": t("All commands") } }, field, list);
  /** @type {Choice[]} */
  let shown = [];
  let at = 0;
  const mark = () => {
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    const now = list.children[at];
    field.setAttribute("aria-activedescendant", now?.id ?? "");
    now?.scrollIntoView({ block: "nearest" });
  };
  /** @param {Choice} choice */
  const take = (choice) => {
    dialog.close();
    choice.run();
  };
  const draw = () => {
    shown = ranked(field.value, all, ({ group, title }) => `${title} ${group}`).slice(0, 80);
    list.replaceChildren(
      ...shown.map((choice) =>
        el("div", { id: freshId("command"), attributes: { role: "option" }, on: { click: () => take(choice) } }, el("span", { class: "group" }, choice.group), choice.title, el("span", { class: "keys" }, ...choice.keys.slice(0, 1).map((key) => el("kbd", {}, shownKey(key))))),
      ),
    );
    at = 0;
    mark();
  };
  field.addEventListener("input", draw);
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") at = (at + 1) % Math.max(1, shown.length);
    else if (event.key === "ArrowUp") at = (at - 1 + shown.length) % Math.max(1, shown.length);
    else if (event.key === "Enter" && shown[at]) take(shown[at]);
    else return;
    event.preventDefault();
    mark();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  draw();
}
