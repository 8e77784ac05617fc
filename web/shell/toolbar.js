// The bar at the top: menu, tabs of the open workflows, and what runs them.

import { el, keyed, soon } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { shownKeys } from "./keys.js";
import { openMenu } from "./menu.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../files/workspace.js").Tab} Tab */

/** @param {App} app @returns {HTMLElement} */
export function createToolbar(app) {
  const { actions, settings, workspace, centre, queue } = app;
  const menuButton = button("menu", "Menu", () => openMenu(mainMenu(app), menuButton));
  menuButton.setAttribute("aria-haspopup", "menu");
  const tabs = el("div", { class: "tabs", attributes: { role: "group", "aria-label": t("Open workflows") } });
  const count = el("input", { class: "count wide", attributes: { type: "number", min: 1, max: 999, "aria-label": t("How many runs"), title: t("How many runs") }, set: { value: String(settings.get("run.count")) } });
  count.addEventListener("change", () => {
    count.value = String(Math.min(999, Math.max(1, Math.round(Number(count.value)) || 1)));
    settings.set("run.count", Number(count.value));
  });
  const run = el("button", { id: "run", class: "primary", attributes: { type: "button", title: `${t("Run")} (${shownKeys(actions.keysOf("run.queue"))})` }, on: { click: () => actions.run("run.queue") } }, icon("run", 16), el("span", {}, t("Run")));
  const more = el("button", { class: "primary", attributes: { type: "button", "aria-label": t("More ways to run"), "aria-haspopup": "menu" } }, icon("down", 16));
  more.addEventListener("click", () =>
    openMenu(
      [
        entry(app, "run.front"),
        entry(app, "run.selected"),
        null,
        { label: t("Run when something changes"), checked: settings.get("run.auto") === "change", run: () => settings.set("run.auto", settings.get("run.auto") === "change" ? "off" : "change") },
        { label: t("Run again and again"), checked: settings.get("run.auto") === "always", run: () => settings.set("run.auto", settings.get("run.auto") === "always" ? "off" : "always") },
        null,
        entry(app, "run.cancel"),
        entry(app, "run.cancelAll"),
      ],
      more,
    ),
  );
  const cancel = button("stop", "Cancel the run", () => actions.run("run.cancel"));
  cancel.id = "cancel";
  const add = button("plus", "New workflow", () => actions.run("file.new"));
  const bar = el(
    "header",
    { class: "topbar" },
    menuButton,
    el("h1", { class: "brand" }, el("img", { attributes: { src: new URL("../icon.svg", import.meta.url).href, alt: "", width: 20, height: 20 } }), el("span", {}, "Emulsion")),
    tabs,
    add,
    el("div", { class: "gap" }),
    el("div", { class: "run-group" }, count, el("div", { class: "split" }, run, more), cancel),
  );
  const draw = soon(() => {
    keyed(tabs, workspace.tabs, (tab) => tab.key, (tab) => drawTab(app, tab), (element, tab) => updateTab(app, element, tab));
    const busy = queue.remaining > 0 || centre.jobs.size > 0;
    cancel.disabled = !busy;
    run.disabled = !workspace.active;
    more.setAttribute("aria-pressed", String(settings.get("run.auto") !== "off"));
  });
  for (const type of ["tabs", "active"]) workspace.addEventListener(type, draw);
  centre.addEventListener("jobs", draw);
  queue.addEventListener("change", draw);
  settings.subscribe("run.auto", draw);
  draw();
  return bar;
}

/** @param {string} name @param {string} label @param {() => void} run */
function button(name, label, run) {
  return el("button", { class: "quiet square", attributes: { type: "button", "aria-label": t(label), title: t(label) }, on: { click: run } }, icon(name));
}

/** @param {App} app @param {Tab} tab */
function drawTab(app, tab) {
  const { workspace, actions } = app;
  const show = el("button", {
    class: "tab",
    attributes: { type: "button" },
    on: {
      click: () => workspace.activate(tab),
      auxclick: (event) => event.button === 1 && actions.run("file.close", { tab }),
      dblclick: () => actions.run("file.rename", { tab }),
      contextmenu: (event) => {
        event.preventDefault();
        workspace.activate(tab);
        openMenu([entry(app, "file.save"), entry(app, "file.saveAs"), entry(app, "file.rename"), entry(app, "file.versions"), null, entry(app, "file.close")], { x: event.clientX, y: event.clientY });
      },
    },
  });
  const close = el("button", { class: "quiet small square tab-close", attributes: { type: "button" }, on: { click: () => actions.run("file.close", { tab }) } }, icon("close", 14));
  const box = el("div", { class: "tab-box" }, show, close);
  updateTab(app, box, tab);
  return box;
}

/** @param {App} app @param {HTMLElement} box @param {Tab} tab */
function updateTab(app, box, tab) {
  const [show, close] = /** @type {HTMLElement[]} */ ([...box.children]);
  const { dirty } = tab.session.document;
  const active = app.workspace.active === tab;
  box.classList.toggle("active", active);
  show.setAttribute("aria-current", active ? "page" : "false");
  show.title = tab.path ?? tab.name;
  show.replaceChildren(...(dirty ? [el("span", { class: "mark", attributes: { role: "img", "aria-label": t("Not saved") } })] : []), tab.name);
  close.setAttribute("aria-label", t("Close {name}", { name: tab.name }));
}

/** @param {App} app @param {string} id @returns {import("./menu.js").Entry} */
export function entry(app, id) {
  const action = app.actions.get(id);
  return { label: t(action?.title ?? id), keys: shownKeys(app.actions.keysOf(id)), disabled: !app.actions.can(id), run: () => app.actions.run(id) };
}

/** @param {App} app @returns {import("./menu.js").Entry[]} */
function mainMenu(app) {
  return [
    ...["file.new", "file.open", "file.import", "file.importUrl"].map((id) => entry(app, id)),
    null,
    ...["file.save", "file.saveAs", "file.versions", "file.export", "file.exportPrompt", "file.exportPicture.png", "file.exportPicture.svg"].map((id) => entry(app, id)),
    null,
    ...["edit.undo", "edit.redo"].map((id) => entry(app, id)),
    null,
    ...["view.form", "view.missing", "view.packs", "server.free", "server.refresh"].map((id) => entry(app, id)),
    null,
    ...["view.palette", "view.keys", "view.settings", "view.about"].map((id) => entry(app, id)),
  ];
}
