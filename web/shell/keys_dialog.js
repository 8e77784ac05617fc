// Which keys do what, and choosing others.

import { keyName } from "./actions.js";
import { el } from "./dom.js";
import { openDialog } from "./dialog.js";
import { t } from "./i18n.js";
import { PRESETS } from "./key_presets.js";
import { shownKey } from "./keys.js";
import { ranked } from "./match.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export function openKeys(app) {
  const { actions, settings } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the commands"), placeholder: t("Search the commands"), autofocus: true } });
  const list = el("div", { class: "settings" });
  const said = el("p", { class: "soft", attributes: { role: "status" } });

  /** @param {string} id @param {readonly string[] | null} keys */
  const bind = (id, keys) => {
    const all = { ...(settings.get("keys") ?? {}) };
    if (keys) {
      for (const key of keys) {
        const other = actions.withKey(key);
        if (!other || other.id === id) continue;
        all[other.id] = actions.keysOf(other.id).filter((each) => each !== key);
        said.textContent = t("{key} was taken from {title}.", { key: shownKey(key), title: t(other.title) });
      }
      all[id] = keys;
    } else delete all[id];
    settings.set("keys", all);
    actions.keysChanged();
    draw();
  };
  /** @param {Readonly<Record<string, readonly string[]>>} keys @param {string} words */
  const use = (keys, words) => {
    const before = settings.get("keys") ?? {};
    settings.set("keys", keys);
    actions.keysChanged();
    said.replaceChildren(`${words} `, el("button", { class: "small quiet", attributes: { type: "button" }, on: { click: () => use(before, t("The keys are as they were.")) } }, t("Undo")));
    draw();
  };
  const draw = () => {
    const found = ranked(search.value, actions.list(), ({ id, title, group = "" }) => `${t(title)} ${t(group)} ${actions.keysOf(id).map(shownKey).join(" ")}`);
    list.replaceChildren(
      ...found.map(({ id, title, group = "" }) => {
        const keys = actions.keysOf(id);
        const change = el("button", { class: "small", attributes: { type: "button", "aria-label": `${t("Choose")}: ${t(title)}` } }, t("Choose"));
        change.addEventListener("click", () => {
          change.textContent = t("Press a key …");
          change.setAttribute("aria-label", t("Press a key …"));
          change.addEventListener(
            "keydown",
            (event) => {
              if (["Shift", "Control", "Alt", "Meta", "Tab"].includes(event.key)) return;
              event.preventDefault();
              event.stopPropagation();
              if (event.key === "Escape") draw();
              else bind(id, [keyName(event)]);
            },
          );
          change.addEventListener("blur", () => (change.textContent = t("Choose")), { once: true });
        });
        return el(
          "div",
          { class: "setting" },
          el("div", {}, t(title), el("span", { class: "hint" }, t(group))),
          el("div", { class: "control" }, ...keys.map((key) => el("kbd", {}, shownKey(key))), change, Object.hasOwn(settings.get("keys") ?? {}, id) && el("button", { class: "small quiet", attributes: { type: "button", "aria-label": `${t("Reset")}: ${t(title)}` }, on: { click: () => bind(id, null) } }, t("Reset")), keys.length > 0 && el("button", { class: "small quiet", attributes: { type: "button", "aria-label": `${t("None")}: ${t(title)}` }, on: { click: () => bind(id, []) } }, t("None"))),
        );
      }),
    );
  };
  const presets = PRESETS.map(({ title, keys }) => el("button", { class: "small", attributes: { type: "button" }, on: { click: () => use(keys, t("Keys: {name}.", { name: t(title) })) } }, t(title)));
  search.addEventListener("input", draw);
  draw();
  openDialog(t("Keys"), { class: "wide" }, el("div", { class: "search" }, search), el("div", { class: "row" }, el("span", { class: "soft" }, t("All keys")), ...presets), said, list);
}
