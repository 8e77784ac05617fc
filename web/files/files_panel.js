// Workflows on the server as folders: open, rename, delete, search; the ones opened last on top.

import { el } from "../shell/dom.js";
import { ask, choose } from "../shell/dialog.js";
import { ago, t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { ranked } from "../shell/match.js";
import { tellError } from "../shell/toast.js";
import { nameProblem } from "./store.js";
import { titleOf } from "./workspace.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("./store.js").Info} Info */

const RECENT = 5;

/** @param {App} app @returns {import("../shell/side.js").Panel} */
export function create(app) {
  const { workspace, store, actions, settings } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the workflows"), placeholder: t("Search the workflows") } });
  const list = el("div");
  /** @type {Info[]} */
  let files = [];

  const read = async () => {
    try {
      files = (await store.list()).filter(({ path }) => path.endsWith(".json"));
      draw();
    } catch (error) {
      tellError(error);
    }
  };
  const draw = () => {
    const words = search.value;
    if (words.trim()) {
      const found = ranked(words, files, ({ path }) => path);
      list.replaceChildren(...(found.length ? found.map((file) => drawFile(app, file, read, true)) : [el("p", { class: "note" }, t("Nothing fits the search."))]));
      return;
    }
    /** @type {string[]} */
    const recent = settings.get("files.recent") ?? [];
    const last = recent.flatMap((path) => files.find((file) => file.path === path) ?? []).slice(0, RECENT);
    list.replaceChildren(
      ...(last.length ? [el("h3", {}, t("Opened last")), ...last.map((file) => drawFile(app, file, read, true))] : []),
      el("h3", {}, t("All workflows")),
      ...(files.length ? drawFolder(app, files, "", read) : [el("p", { class: "note" }, t("Nothing is saved yet. Save a workflow, and it is listed here."))]),
    );
  };
  search.addEventListener("input", draw);
  workspace.addEventListener("tabs", read);
  read();
  const tool = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ id) =>
    el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": t(label), title: t(label) }, on: { click: () => actions.run(id) } }, icon(name, 16));
  return {
    element: el("div", {}, el("div", { class: "search" }, search), list),
    tools: [tool("plus", "New workflow", "file.new"), tool("load", "Import a file from this machine", "file.import")],
    destroy: () => workspace.removeEventListener("tabs", read),
  };
}

/** @param {App} app @param {readonly Info[]} files @param {string} folder with its / @param {() => void} again @returns {HTMLElement[]} */
function drawFolder(app, files, folder, again) {
  const inside = files.filter(({ path }) => path.startsWith(folder));
  const folders = [...new Set(inside.flatMap(({ path }) => (path.slice(folder.length).includes("/") ? path.slice(folder.length).split("/")[0] : [])))].sort();
  return [
    ...folders.map((name) => el("details", { class: "folder", attributes: { open: true } }, el("summary", {}, name), el("div", {}, ...drawFolder(app, files, `${folder}${name}/`, again)))),
    ...inside.filter(({ path }) => !path.slice(folder.length).includes("/")).map((file) => drawFile(app, file, again, false)),
  ];
}

/** @param {App} app @param {Info} file @param {() => void} again @param {boolean} whole  show its folder, too */
function drawFile(app, file, again, whole) {
  const { workspace, store } = app;
  const open = workspace.tabs.find((tab) => tab.path === file.path);
  const name = whole ? file.path.replace(/\.json$/, "") : titleOf(file.path);
  const tool = (/** @type {string} */ sign, /** @type {string} */ label, /** @type {() => unknown} */ run) =>
    el("button", { class: "small square", attributes: { type: "button", "aria-label": `${label}: ${name}`, title: label }, on: { click: () => Promise.resolve(run()).catch(tellError) } }, icon(sign, 16));
  return el(
    "div",
    { class: "card" },
    icon("file"),
    el("button", { class: "quiet what grow", attributes: { type: "button", title: file.path }, on: { click: () => openFile(app, file.path).catch(tellError) } }, el("span", {}, name), el("span", { class: "sub" }, open?.session.document.dirty ? t("Not saved") : ago(file.modified * 1000))),
    el(
      "span",
      { class: "tools hover" },
      tool("edit", t("Rename"), async () => {
        const name = await ask(t("Rename"), { label: t("Name; a / makes a folder"), value: file.path.replace(/\.json$/, ""), action: t("Rename"), check: (value) => nameProblem(value) });
        if (!name || `${name}.json` === file.path) return;
        await store.move(file.path, `${name}.json`);
        if (open) workspace.moved(open, `${name}.json`);
        again();
      }),
      tool("trash", t("Delete"), async () => {
        const answer = await choose(t("Delete {name}?", { name }), t("The file is removed from the server; its earlier versions stay."), [{ answer: "yes", label: t("Delete"), kind: "danger" }]);
        if (!answer) return;
        await store.delete(file.path);
        if (open) workspace.orphaned(open);
        again();
      }),
    ),
  );
}

/** Open a file of the server, or show the tab it is in already. @param {App} app @param {string} path */
export async function openFile(app, path) {
  const { workspace, store, settings } = app;
  const there = workspace.tabs.find((tab) => tab.path === path);
  if (there) workspace.activate(there);
  else {
    const { json, version } = await store.read(path);
    app.open(json, { path, version });
  }
  settings.set("files.recent", [path, ...(settings.get("files.recent") ?? []).filter((/** @type {string} */ each) => each !== path)].slice(0, 20));
}
