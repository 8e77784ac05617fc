// `app.ui`, `app.menu` and `app.extensionManager` for scripts of node packs: settings, commands, panels, notes, dialogs.

import { ask, choose } from "../shell/dialog.js";
import { el } from "../shell/dom.js";
import { t } from "../shell/i18n.js";
import { markdown } from "../shell/markdown.js";
import { toast } from "../shell/toast.js";
import { askingFile, note } from "./report.js";
import { ComfyButtonGroup, ComfyDialog } from "./ui.js";

/** @typedef {import("./app.js").PackApp} PackApp */

/** Kinds of settings by what scripts call them. @type {Readonly<Record<string, import("../shell/settings.js").Definition["kind"]>>} */
const KINDS = { boolean: "boolean", number: "number", slider: "number", knob: "number", text: "text", combo: "choice", radio: "choice", url: "text", color: "text", hidden: "hidden" };

/** @param {PackApp} app @param {any} setting */
function addSetting(app, setting) {
  const { id, name, type, defaultValue, onChange, options, attrs = {}, tooltip, category } = setting;
  const { settings } = app.page;
  const kind = typeof type === "function" ? "hidden" : (KINDS[type] ?? "text");
  if (typeof type === "function") {
    const file = askingFile();
    if (file) note(file, `draws the setting ${id} itself; its value can be used, but it is not in the list of settings`);
  }
  const list = (typeof options === "function" ? options(settings.get(id)) : options) ?? [];
  const choices = list.map((/** @type {any} */ each) => (typeof each === "object" ? { value: each.value ?? each.text, title: String(each.text ?? each.value) } : { value: each, title: String(each) }));
  settings.register({ key: id, title: String(name ?? id), group: category?.[0] ?? t("Node packs"), kind, default: typeof defaultValue === "function" ? defaultValue() : defaultValue, choices, min: attrs.min, max: attrs.max, step: attrs.step, tooltip: typeof tooltip === "string" ? tooltip : undefined, shared: true });
  let before = settings.get(id);
  settings.subscribe(id, (value) => {
    app.guard(() => onChange?.(value, before));
    before = value;
  });
  app.guard(() => onChange?.(before, undefined));
  return {
    get value() {
      return settings.get(id);
    },
    set value(value) {
      settings.set(id, value);
    },
  };
}

/** @param {PackApp} app @returns {any} */
export function createUi(app) {
  const { settings } = app.page;
  const menuContainer = el("div", { class: "comfy-menu" });
  const tools = el("div", { class: "pack-tools" });
  document.querySelector(".topbar .run-group")?.before(menuContainer, tools);
  const settingsGroup = new ComfyButtonGroup();
  tools.append(settingsGroup.element);
  return {
    menu: { settingsGroup, actionsGroup: settingsGroup, viewGroup: settingsGroup, element: tools, saveButton: { element: settingsGroup.element } },
    menuContainer,
    dialog: new ComfyDialog(),
    autoQueueEnabled: false, lastQueueSize: 0, graphHasChanged: false, autoQueueMode: "instant",
    settings: Object.assign(new EventTarget(), {
      addSetting: (/** @type {any} */ setting) => addSetting(app, setting),
      getSettingValue: (/** @type {string} */ id, /** @type {any} */ usual) => settings.get(id) ?? usual,
      setSettingValue: (/** @type {string} */ id, /** @type {any} */ value) => settings.set(id, value),
      setSettingValueAsync: async (/** @type {string} */ id, /** @type {any} */ value) => settings.set(id, value),
      settingsLookup: {}, settingsValues: {}, settingsParamLookup: {},
      get app() {
        return app;
      },
    }),
    queue: { show() {}, hide() {}, update() {} },
    history: { show() {}, hide() {}, update() {} },
  };
}

/** @param {PackApp} app @returns {any} */
export function createManager(app) {
  const { page } = app;
  /** @param {any} panel */
  const registerPanel = (panel) =>
    page.side.add({
      id: `pack:${panel.id}`,
      title: String(panel.title ?? panel.id),
      icon: "graph",
      load: async () => ({
        create: () => {
          const element = el("div", { class: "pack-panel" });
          app.guard(() => panel.render?.(element));
          if (panel.type === "vue") note(askingFile() ?? String(panel.id), `its panel ${panel.title ?? panel.id} needs Vue, which is not here`);
          return { element, destroy: () => app.guard(() => panel.destroy?.()) };
        },
      }),
    });
  const manager = {
    setting: { get: (/** @type {string} */ id) => page.settings.get(id), set: (/** @type {string} */ id, /** @type {any} */ value) => page.settings.set(id, value) },
    toast: {
      add({ severity = "info", summary = "", detail = "", life = 0 }) {
        const kinds = /** @type {const} */ ({ success: "good", error: "bad", warn: "warn" });
        toast(String(summary || detail), { kind: kinds[/** @type {"error"} */ (severity)] ?? "info", hint: summary ? String(detail) : "", ...(life ? { seconds: life / 1000 } : {}) });
      },
      addAlert: (/** @type {string} */ message) => toast(String(message), { kind: "warn" }),
      remove() {},
      removeAll() {},
    },
    dialog: {
      prompt: ({ title = "", message = "", defaultValue = "" }) => ask(title, { label: message, value: defaultValue, action: t("Accept") }),
      confirm: async ({ title = "", message = "" }) => (await choose(title, message, [{ answer: "yes", label: t("Accept"), kind: "primary" }])) === "yes",
    },
    command: { commands: /** @type {any[]} */ ([]), execute: (/** @type {string} */ id) => page.actions.run(id), isRegistered: (/** @type {string} */ id) => Boolean(page.actions.get(id)) },
    registerSidebarTab: registerPanel,
    unregisterSidebarTab() {},
    getSidebarTabs: () => page.side.kinds,
    registerBottomPanelTab: registerPanel,
    sidebarTab: { get activeSidebarTabId() { return page.side.shown; }, toggleSidebarTab: (/** @type {string} */ id) => page.side.toggle(`pack:${id}`) }, // prettier-ignore
    workflow: {
      get activeWorkflow() {
        const { tab } = app;
        return tab && { path: tab.path ?? tab.name, filename: tab.name, key: tab.path ?? tab.name, isModified: tab.session.document.dirty, activeState: app.graph?.serialize(), changeTracker: { checkState() {} } };
      },
      get openWorkflows() {
        return page.workspace.tabs.map(({ path, name }) => ({ path: path ?? name, filename: name }));
      },
    },
    get queueSettings() {
      return { mode: page.settings.get("run.auto"), batchCount: page.settings.get("run.count") };
    },
    get lastExecutionError() {
      return app.lastExecutionError;
    },
    renderMarkdownToHtml: (/** @type {string} */ text) => markdown(text).innerHTML,
    /** The lists an extension brings. @param {any} extension */
    take(extension) {
      for (const setting of extension.settings ?? []) addSetting(app, setting);
      const menus = new Map((extension.menuCommands ?? []).flatMap((/** @type {any} */ { path = [], commands = [] }) => commands.map((/** @type {string} */ id) => [id, path.join(" / ")])));
      const bound = extension.keybindings ?? [];
      for (const { id, function: run, label } of extension.commands ?? []) {
        const keys = bound.filter((/** @type {any} */ each) => each.commandId === id).map((/** @type {any} */ { combo }) => [combo.ctrl || combo.meta ? "ctrl" : "", combo.alt ? "alt" : "", combo.shift ? "shift" : "", String(combo.key).toLowerCase()].filter(Boolean).join("+"));
        page.actions.add({ id, title: String(typeof label === "function" ? label() : (label ?? id)), group: menus.get(id) ?? t("Node packs"), keys, run: () => app.guard(() => run?.()) });
        manager.command.commands.push({ id, label, function: run });
      }
      for (const panel of extension.bottomPanelTabs ?? []) registerPanel(panel);
    },
  };
  return manager;
}
