// The page: makes its parts, hands them to each other, and opens what was open before.
import { registerGraphActions } from "./canvas/actions.js";
import { mountCanvas } from "./canvas/index.js";
import { Definitions } from "./core/definitions.js";
import { findMissing } from "./files/missing.js";
import { acceptFiles } from "./files/import.js";
import { claimWindow, openJournal } from "./files/journal.js";
import { Store } from "./files/store.js";
import { Workspace } from "./files/workspace.js";
import { Api, Refused } from "./run/api.js";
import { RunCentre } from "./run/centre.js";
import { Queue } from "./run/queue.js";
import { Actions, listenToKeys } from "./shell/actions.js";
import { addCommands } from "./shell/commands.js";
import { createCorner } from "./shell/corner.js";
import { el } from "./shell/dom.js";
import { icon } from "./shell/icons.js";
import { LANGUAGES, preferred, speak, t } from "./shell/i18n.js";
import { Settings } from "./shell/settings.js";
import { PANELS } from "./shell/panels.js";
import { announceEnds } from "./shell/notify.js";
import { Side } from "./shell/side.js";
import { createStatus } from "./shell/status.js";
import { followTheme } from "./shell/theme.js";
import { mountToasts, tellError, toast } from "./shell/toast.js";
import { createToolbar } from "./shell/toolbar.js";

/** @typedef {import("./shell/app.js").App} App */

const AUTO_AFTER_MS = 400;

const api = new Api();
const settings = new Settings({ load: () => api.get("settings"), save: (key, value) => api.request("POST", `settings/${encodeURIComponent(key)}`, JSON.stringify(value), { "Content-Type": "application/json" }) });
settings.register(
  { key: "language", title: "Language", group: "Appearance", kind: "choice", choices: LANGUAGES, default: "", tooltip: "Takes effect when the page is loaded again" },
  { key: "run.count", title: "How many runs", kind: "hidden", default: 1 },
  { key: "run.auto", title: "Run by itself", group: "Running", kind: "choice", default: "off", choices: [{ value: "off", title: "Never" }, { value: "change", title: "When something changes" }, { value: "always", title: "Again and again" }] },
  { key: "run.notify", title: "Tell me when a run ends while I look elsewhere", group: "Running", kind: "boolean", local: true, default: false },
  { key: "keys", title: "Keys", kind: "hidden", default: {} },
  { key: "files.recent", title: "Opened last", kind: "hidden", default: [] },
  { key: "form.open", title: "Form view", kind: "hidden", local: true, default: false },
);

/** What the worker can run. While it is still starting the server says 503: ask again. @returns {Promise<Record<string, any>>} */
async function readInfo() {
  for (;;) {
    try {
      return await api.get("object_info");
    } catch (error) {
      if (error instanceof Refused && error.status !== 503) throw error;
    }
    await new Promise((done) => setTimeout(done, 500));
  }
}

/** Scripts of node packs come once the editor can be used; a run waits for them. @param {App} app @param {readonly string[]} listed @param {Record<string, any>} info */
async function joinScripts(app, listed, info) {
  const addresses = listed.filter((each) => !each.startsWith("/extensions/core/"));
  if (!addresses.length) return;
  const plain = app.centre.compose;
  const loading = import("./compat/index.js").then((compat) => compat.startScripts(app, addresses, info));
  app.centre.compose = (session) => loading.then(() => app.centre.compose(session), () => plain(session));
  await loading.finally(() => app.view.canvas?.definitionsChanged());
}

async function start() {
  followTheme(settings);
  await speak(preferred(settings.get("language")));
  const reading = readInfo();
  const scripts = api.get("extensions").catch(() => []);
  const actions = new Actions(() => settings.get("keys"));
  actions.onError = (error) => tellError(error);
  /** @type {import("./session.js").Shared} */
  const shared = { definitions: new Definitions(), actions, settings, api, definitionsOf: (info) => new Definitions(info) };
  const store = new Store(api);
  const workspace = new Workspace(shared, store);
  const centre = new RunCentre(api);
  const queue = new Queue(api);
  actions.current = () => workspace.active?.session ?? null;

  const rail = el("nav", { class: "rail", attributes: { "aria-label": t("Panels") } }, el("div", { class: "gap" }));
  const place = el("aside", { class: "side", attributes: { hidden: true } });
  const host = el("div", { class: "canvas-host" });
  const blank = el("div", { class: "blank" }, el("p", {}, t("Starting …")));
  const stage = el("main", { class: "stage", id: "stage", attributes: { tabindex: -1 } }, host, blank);
  const side = new Side(rail, place, PANELS);
  /** @type {App} */
  const app = {
    api, settings, actions, shared, workspace, store, centre, queue, side,
    view: { canvas: null },
    open(json, options) {
      const tab = workspace.open(json, options);
      if (tab.notes.length) toast(t("{n} notes about this file are in the list of problems.", { n: tab.notes.length }), { kind: "warn", actions: [{ label: t("Show"), run: () => side.open("problems") }] });
      const missing = findMissing(tab.session);
      if (missing.types.length || missing.files.length) actions.run("view.missing");
    },
  };
  addCommands(app);
  const skip = el("a", { class: "skip", attributes: { href: "#stage" } }, t("Skip to the graph"));
  document.body.prepend(skip, el("div", { class: "app" }, createToolbar(app), rail, place, stage, createStatus(app)));
  stage.append(createCorner(app));
  mountToasts(document.body);
  const gear = el("button", { attributes: { type: "button", "aria-label": t("Settings"), title: t("Settings") }, on: { click: () => actions.run("view.settings") } });
  gear.append(icon("settings", 20));
  rail.append(gear);
  listenToKeys(actions);

  announceEnds(app);
  workspace.addEventListener("opened", (event) => {
    const { tab } = /** @type {CustomEvent} */ (event).detail;
    centre.opened(tab.key, tab.session);
    tab.session.document.subscribe(autoRun);
  });
  workspace.addEventListener("closed", (event) => centre.closed(/** @type {CustomEvent} */ (event).detail.tab.key));
  workspace.addEventListener("unkept", () => toast(t("The browser does not keep changes: its storage is full or forbidden. Save your work to the server."), { kind: "bad", seconds: 0 }), { once: true });
  const badge = () => side.badge("problems", workspace.active ? centre.problems(workspace.active.key).length : 0, true);
  centre.addEventListener("problems", badge);
  workspace.addEventListener("active", badge);
  queue.addEventListener("change", () => side.badge("queue", queue.remaining));

  let due = 0;
  let changedByRun = false;
  function autoRun() {
    if (settings.get("run.auto") !== "change" || changedByRun) return;
    clearTimeout(due);
    due = window.setTimeout(async () => {
      if (!workspace.active || centre.active(workspace.active.key).length) return;
      changedByRun = true; // the new seeds of a run are no change to run for
      await centre.run(workspace.active.key);
      changedByRun = false;
    }, AUTO_AFTER_MS);
  }
  centre.addEventListener("ended", (event) => {
    const { job } = /** @type {CustomEvent} */ (event).detail;
    const tab = workspace.active;
    if (settings.get("run.auto") === "always" && tab && job.document === tab.key && job.state === "done" && !centre.active(tab.key).length) actions.run("run.queue", { count: 1 });
    if (queue.watched) queue.refresh();
  });

  const show = () => {
    app.view.canvas?.destroy();
    app.view.canvas = null;
    host.replaceChildren();
    const session = workspace.active?.session;
    blank.hidden = Boolean(session);
    blank.replaceChildren(el("p", {}, t("No workflow is open.")), el("button", { class: "primary", attributes: { type: "button" }, on: { click: () => workspace.create() } }, t("New workflow")));
    if (!session) return;
    const canvas = mountCanvas(host, session);
    app.view.canvas = canvas;
    registerGraphActions(actions, canvas);
  };
  workspace.addEventListener("active", show);

  side.start(app);
  const { recovered } = await workspace.restore(await openJournal(), await claimWindow());
  api.connect();
  settings.load().catch(() => {});
  const info = await reading;
  shared.definitions = shared.definitionsOf(info);
  app.view.canvas?.definitionsChanged();
  if (!workspace.tabs.length) app.open(await api.get("default_graph.json"), { name: t("Text to image") });
  if (recovered) toast(t("{n} workflows of a page that was closed or crashed are open again.", { n: recovered }), { kind: "good" });
  if (location.pathname.endsWith("/app") || settings.get("form.open")) actions.run("view.form");
  acceptFiles(app, stage, tellError);
  document.addEventListener("emulsion-refresh", async () => {
    shared.definitions = shared.definitionsOf(await readInfo());
    app.view.canvas?.definitionsChanged();
    document.dispatchEvent(new Event("emulsion-refreshed"));
    toast(t("Models and nodes were read again."), { kind: "good", seconds: 2 });
  });
  document.documentElement.dataset.ready = "true";
  performance.mark("emulsion-ready");
  await joinScripts(app, await scripts, info).catch((error) => tellError(error));
  document.documentElement.dataset.scripts = "true";
}

start().catch((error) => {
  document.body.append(el("p", { class: "blank" }, `The page could not start: ${error instanceof Error ? error.message : error}`));
  throw error;
});
