// What the page itself can do, as actions: files, running, panels, dialogs. The canvas adds those on the graph.

import { writeWorkflow } from "../format/workflow.js";
import { download, downloadJson } from "../files/download.js";
import { importFile, importUrl } from "../files/import.js";
import { Conflict, nameProblem } from "../files/store.js";
import { freezable, toggleFrozen } from "../run/freeze.js";
import { ask, choose } from "./dialog.js";
import { t } from "./i18n.js";
import { openPalette } from "./palette.js"; // not fetched when it is asked for: what is typed meanwhile would be keys of the graph
import { tellError, toast } from "./toast.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../files/workspace.js").Tab} Tab */

/** @param {App} app */
export function addCommands(app) {
  const { actions, centre, workspace, side, api, queue } = app;
  /** @param {any} args @returns {Tab | null} */
  const tabOf = (args) => args?.tab ?? workspace.active;
  const busy = () => queue.remaining > 0 || centre.jobs.size > 0;

  actions.add(
    { id: "file.new", group: "File", title: "New workflow", keys: ["alt+n"], run: () => void workspace.create() },
    { id: "file.open", group: "File", title: "Open a workflow", keys: ["ctrl+o"], inText: true, run: () => side.open("files") },
    { id: "file.import", group: "File", title: "Import a file from this machine", run: () => chooseFile(app) },
    { id: "file.importUrl", group: "File", title: "Open from an address", run: async () => {
      const address = await ask(t("Open from an address"), { label: t("Address of a workflow, or of a picture that holds one"), value: "", action: t("Open"), check: (value) => (URL.canParse(value, location.href) ? null : t("This is no address.")) });
      if (address) await importUrl(app, address);
    } }, // prettier-ignore
    { id: "file.save", group: "File", title: "Save", keys: ["ctrl+s"], inText: true, run: (_, args) => save(app, tabOf(args)) },
    { id: "file.saveAs", group: "File", title: "Save as", keys: ["ctrl+shift+s"], inText: true, run: (_, args) => saveAs(app, tabOf(args)) },
    { id: "file.rename", group: "File", title: "Rename", run: (_, args) => rename(app, tabOf(args)) },
    { id: "file.versions", group: "File", title: "Earlier versions", when: () => Boolean(workspace.active?.path), run: async () => (await import("../files/versions.js")).showVersions(app, /** @type {Tab} */ (workspace.active)) },
    { id: "file.close", group: "File", title: "Close", keys: ["alt+w"], run: (_, args) => close(app, tabOf(args)) },
    { id: "file.next", group: "File", title: "Next workflow", keys: ["alt+pagedown"], inText: true, run: () => step(app, 1) },
    { id: "file.previous", group: "File", title: "Previous workflow", keys: ["alt+pageup"], inText: true, run: () => step(app, -1) },
    { id: "file.export", group: "File", title: "Download the workflow", run: ({ document, definitions }) => {
      workspace.prepare(document);
      downloadJson(writeWorkflow(document, definitions), `${workspace.active?.name}.json`);
    } }, // prettier-ignore
    {
      id: "file.exportPrompt",
      group: "File",
      title: "Download for the API",
      run: async (session) => downloadJson((await centre.compose(session)).prompt, `${workspace.active?.name}.api.json`),
    },
    ...["png", "svg"].map((kind) => ({
      id: `file.exportPicture.${kind}`,
      group: "File",
      title: kind === "png" ? "Download a picture of the graph" : "Download a drawing of the graph (SVG)",
      when: () => Boolean(app.view.canvas),
      run: async () => {
        const picture = await app.view.canvas?.picture(/** @type {"png"} */ (kind));
        if (picture) download(picture, `${workspace.active?.name}.${kind}`);
      },
    })),
    { id: "edit.undo", group: "Edit", title: "Undo", keys: ["ctrl+z"], when: ({ document }) => document.canUndo, run: ({ document }) => void document.undo() },
    { id: "edit.redo", group: "Edit", title: "Redo", keys: ["ctrl+shift+z", "ctrl+y"], when: ({ document }) => document.canRedo, run: ({ document }) => void document.redo() },
    { id: "run.queue", group: "Run", title: "Run", keys: ["ctrl+enter"], inText: true, run: (_, args) => run(app, args ?? {}) },
    { id: "run.front", group: "Run", title: "Run before everything that waits", keys: ["ctrl+shift+enter"], inText: true, run: () => run(app, { front: true }) },
    {
      id: "run.selected",
      group: "Run",
      title: "Run only the selected outputs",
      keys: ["ctrl+alt+enter"],
      inText: true,
      when: (session) => selectedOutputs(session).length > 0,
      run: (session) => run(app, { targets: selectedOutputs(session) }),
    },
    {
      id: "run.cancel",
      group: "Run",
      title: "Cancel the run",
      keys: ["ctrl+alt+backspace"],
      inText: true,
      when: busy,
      run: async () => {
        const tab = workspace.active;
        const own = tab ? centre.active(tab.key) : [];
        const job = own.find((each) => each.state === "running") ?? own[0] ?? centre.running;
        if (job) await centre.cancel(job.id);
        else await api.post("interrupt", {});
      },
    },
    { id: "run.cancelAll", group: "Run", title: "Cancel all runs", when: busy, run: () => centre.cancelAll() },
    { id: "run.freeze", group: "Run", title: "Freeze or thaw the result", when: (session) => freezable(session).length > 0, run: (session) => toggleFrozen(app, session) },
    { id: "view.find", group: "View", title: "Find in the workflow", keys: ["ctrl+f"], inText: true, run: async () => {
      await side.open("outline");
      /** @type {HTMLElement | null} */ (document.querySelector(".side [type=search]"))?.focus();
    } }, // prettier-ignore
    { id: "view.palette", group: "View", title: "All commands", keys: ["ctrl+k"], inText: true, run: () => openPalette(app) },
    { id: "view.keys", group: "View", title: "Keys", keys: ["?"], run: async () => (await import("./keys_dialog.js")).openKeys(app) },
    { id: "view.settings", group: "View", title: "Settings", keys: ["ctrl+,"], inText: true, run: async () => (await import("./settings_dialog.js")).openSettings(app) },
    { id: "view.form", group: "View", title: "Form view", keys: ["alt+f"], run: async () => (await import("../form/view.js")).toggleForm(app) },
    { id: "view.missing", group: "View", title: "Missing models and nodes", run: async (session) => (await import("../files/missing_dialog.js")).openMissing(app, session, true) },
    { id: "view.packs", group: "View", title: "Node packs", run: async () => (await import("../files/packs_dialog.js")).openPacks(app) },
    { id: "view.about", group: "View", title: "About this server", run: async () => (await import("./about.js")).openAbout(app) },
    { id: "view.help", group: "View", title: "Help for the selected node", keys: ["f1"], when: ({ selection }) => selection.selected.nodes.size > 0, run: async (session, args) => (await import("./help.js")).openHelp(app, session, args?.type) },
    { id: "view.theme", group: "View", title: "Switch between light and dark", run: ({ settings }) => settings.set("theme", document.documentElement.dataset.theme === "light" ? "dark" : "light") },
    { id: "view.colours", group: "View", title: "Colour palettes", run: async () => (await import("./colours_dialog.js")).openColours(app) },
    { id: "view.focus", group: "View", title: "Only the graph", keys: ["ctrl+."], run: () => {
      document.body.classList.toggle("only-graph");
      /** @type {HTMLElement | null} */ (document.querySelector(".canvas-host .graph"))?.focus({ preventScroll: true });
    } }, // prettier-ignore
    { id: "view.side", group: "View", title: "Close the panel", when: () => side.shown !== null, run: () => side.close() },
    ...side.kinds.map((kind) => ({ id: `panel.${kind.id}`, group: "View", title: kind.title, keys: kind.key ? [kind.key] : [], run: () => side.toggle(kind.id) })),
    {
      id: "server.free",
      group: "Server",
      title: "Free the memory of models and results",
      run: async () => {
        await api.post("free", { unload_models: true, free_memory: true });
        toast(t("Models and results were let go."), { kind: "good" });
      },
    },
    { id: "server.refresh", group: "Server", title: "Read models and nodes again", keys: ["r"], run: () => document.dispatchEvent(new Event("emulsion-refresh")) },
  );
}

/** @param {App} app @param {import("../run/centre.js").RunOptions} options */
async function run(app, options) {
  const tab = app.workspace.active;
  if (!tab) return;
  if (document.activeElement instanceof HTMLElement && document.activeElement.matches("input, textarea")) document.activeElement.dispatchEvent(new Event("change", { bubbles: true }));
  const accepted = await app.centre.run(tab.key, { count: app.settings.get("run.count"), ...options });
  const problems = app.centre.problems(tab.key);
  if (problems.length) {
    if (!accepted) app.side.open("problems");
    toast(problems.length === 1 ? `${problems[0].title ? `${problems[0].title}: ` : ""}${problems[0].message}` : t("{n} problems were found.", { n: problems.length }), {
      kind: "bad",
      hint: problems.length === 1 ? problems[0].hint : "",
    });
  }
}

/** Outputs among the selected nodes, or what they lead to. @param {import("../session.js").Session} session @returns {string[]} */
function selectedOutputs(session) {
  const { graph, nodes } = session.selection.selected;
  const view = session.document.graph(graph);
  const path = session.within.map((id) => `${id}:`).join("");
  return [...nodes].filter((id) => view.nodes.has(id) && session.definitions.get(view.node(id).type)?.isOutput).map((id) => path + id);
}

/** @param {App} app */
function chooseFile(app) {
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.addEventListener("change", async () => {
    try {
      for (const file of input.files ?? []) await importFile(app, file);
    } catch (error) {
      tellError(error);
    }
  });
  input.click();
}

/** @param {App} app @param {Tab | null} tab */
export async function save(app, tab) {
  if (!tab) return;
  if (!tab.path) {
    await saveAs(app, tab);
    return;
  }
  try {
    await app.workspace.save(tab);
    toast(t("Saved."), { kind: "good", seconds: 2 });
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    await settle(app, tab);
  }
}

/** Somebody else saved the same file: show it, overwrite nothing unasked. @param {App} app @param {Tab} tab */
async function settle(app, tab) {
  const answer = await choose(
    t("This workflow was changed elsewhere"),
    t("{name} was saved by another tab or person since you opened it. Your changes are still here, and nothing was overwritten.", { name: tab.name }),
    [
      { answer: "theirs", label: t("Open theirs beside mine") },
      { answer: "overwrite", label: t("Overwrite theirs"), kind: "danger" },
      { answer: "copy", label: t("Save mine under another name"), kind: "primary" },
    ],
  );
  if (answer === "copy") await saveAs(app, tab);
  if (answer === "overwrite") await app.workspace.save(tab, { overwrite: true });
  if (answer === "theirs" && tab.path) {
    const { json, version } = await app.store.read(tab.path);
    app.open(json, { path: tab.path, version });
  }
}

/** @param {App} app @param {Tab | null} tab @returns {Promise<void>} */
export async function saveAs(app, tab) {
  if (!tab) return;
  const name = await ask(t("Save as"), { label: t("Name; a / makes a folder"), value: tab.path?.replace(/\.json$/, "") ?? tab.name, action: t("Save"), check: (value) => said(nameProblem(value)) });
  if (!name) return;
  const path = `${name}.json`;
  try {
    await app.workspace.save(tab, { path });
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    const answer = await choose(t("This name is taken"), t("There is a workflow {name} already.", { name }), [
      { answer: "overwrite", label: t("Replace it"), kind: "danger" },
      { answer: "other", label: t("Choose another name"), kind: "primary" },
    ]);
    if (answer === "overwrite") await app.workspace.save(tab, { path, overwrite: true });
    if (answer === "other") return saveAs(app, tab);
  }
  if (tab.path === path) toast(t("Saved."), { kind: "good", seconds: 2 });
}

/** @param {App} app @param {Tab | null} tab */
async function rename(app, tab) {
  if (!tab) return;
  if (!tab.path) return saveAs(app, tab);
  const name = await ask(t("Rename"), { label: t("Name; a / makes a folder"), value: tab.path.replace(/\.json$/, ""), action: t("Rename"), check: (value) => said(nameProblem(value)) });
  if (!name || `${name}.json` === tab.path) return;
  await app.store.move(tab.path, `${name}.json`);
  app.workspace.moved(tab, `${name}.json`);
}

/** @param {App} app @param {Tab | null} tab */
async function close(app, tab) {
  if (!tab) return;
  if (tab.session.document.dirty && (tab.path || tab.session.document.canUndo)) {
    const answer = await choose(t("Close {name}?", { name: tab.name }), t("It has changes that are not saved."), [
      { answer: "discard", label: t("Close without saving"), kind: "danger" },
      { answer: "save", label: t("Save and close"), kind: "primary" },
    ]);
    if (!answer) return;
    if (answer === "save") {
      await save(app, tab);
      if (tab.session.document.dirty) return;
    }
  }
  app.workspace.close(tab);
}

/** @param {App} app @param {number} by */
function step(app, by) {
  const { tabs, active } = app.workspace;
  if (active && tabs.length) app.workspace.activate(tabs[(tabs.indexOf(active) + by + tabs.length) % tabs.length]);
}

/** @param {string | null} problem */
function said(problem) {
  return problem ? t(problem) : null;
}
