// Scripts of node packs: the objects they expect are made and put where they look for them, then the scripts are run. Loaded only when there are some.

import { PackApp } from "./app.js";
import { openDoors } from "./face.js";
import { createLiteGraph } from "./litegraph.js";
import { PackNode } from "./node.js";
import { inspect, note, scriptOf, scripts } from "./report.js";
import { $el, ComfyButton, ComfyButtonGroup, ComfyDialog } from "./ui.js";
import { ComfyWidgets, IS_CONTROL_WIDGET, addValueControlWidget, addValueControlWidgets, updateControlWidgetLabel } from "./widgets.js";
import * as files from "./files.js";

/** @typedef {import("../shell/app.js").App} App */

/**
 * @param {App} page
 * @param {readonly string[]} addresses  of the scripts, as /extensions lists them
 * @param {Record<string, any>} info  of /object_info
 */
export async function startScripts(page, addresses, info) {
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("compat.css", import.meta.url).href }));
  const app = new PackApp(page);
  const graph = createLiteGraph(app.types, PackNode);
  const api = app.api;
  const global = /** @type {any} */ (globalThis);
  Object.assign(global, { app, ...graph });
  global.comfyAPI = {
    app: { app, ComfyApp: PackApp, ANIM_PREVIEW_WIDGET: "$$comfy_animation_preview" },
    api: { api, ComfyApi: api.constructor },
    ui: { $el, ComfyDialog, toggleSwitch: () => document.createElement("div"), ComfyUI: Object },
    widgets: { ComfyWidgets, IS_CONTROL_WIDGET, addValueControlWidget, addValueControlWidgets, updateControlWidgetLabel, initWidgets() {}, isValidWidgetType: (/** @type {string} */ type) => type in ComfyWidgets },
    domWidget: { addDomWidget: (/** @type {any} */ node, /** @type {any} */ widget) => node.addCustomWidget(widget), DOMWidgetImpl: Object, isDOMWidget: (/** @type {any} */ widget) => Boolean(widget?.isDOM) },
    utils: files.utils, pnginfo: files.pnginfo,
    button: { ComfyButton }, buttonGroup: { ComfyButtonGroup }, dialog: { ComfyDialog },
  };
  openDoors((document) => app.hostOf(document));
  await Promise.all(addresses.map((address) => run(page, address)));
  await app.prepare(info);
  page.shared.definitionsOf = (next) => app.definitionsOf(next);
  page.shared.definitions = app.definitionsOf(info);
  /** One after the other: scripts keep things between the beginning and the end of a prompt. @type {Promise<unknown>} */
  let before = Promise.resolve();
  page.centre.compose = (session) => {
    const next = before.then(() => app.compose(session));
    before = next.catch(() => {});
    return next;
  };
  page.centre.send = (body) => {
    const { prompt, extra_data: extra, ...rest } = body;
    api.bodyOf = (own) => ({ ...rest, extra_data: { ...extra, extra_pnginfo: own.extra_data.extra_pnginfo } });
    return api.queuePrompt(rest.front ? -1 : (rest.number ?? 0), { output: prompt, workflow: extra.extra_pnginfo.workflow });
  };
  page.workspace.addEventListener("opened", (event) => app.opened(/** @type {CustomEvent} */ (event).detail.tab));
  page.workspace.addEventListener("closed", (event) => app.closed(/** @type {CustomEvent} */ (event).detail.tab));
  page.api.addEventListener("executed", (event) => app.executed(/** @type {CustomEvent} */ (event).detail));
  page.api.addEventListener("executing", (event) => (app.runningNodeId = /** @type {CustomEvent} */ (event).detail?.node ?? null));
  page.api.addEventListener("execution_start", (event) => app.hostOfJob(/** @type {CustomEvent} */ (event).detail.prompt_id)?.each((node) => app.guard(() => node.onExecutionStart?.())));
  page.api.addEventListener("execution_error", (event) => (app.lastExecutionError = /** @type {CustomEvent} */ (event).detail));
  page.centre.run = async (key, options = {}) => (Object.hasOwn(app, "queuePrompt") && key === app.tab?.key ? Boolean(await app.queuePrompt(options.front ? -1 : 0, options.count ?? 1, options.targets)) : app.runPlainly(key, options));
  page.workspace.prepare = (document) => app.keep(document);
  document.addEventListener("emulsion-refreshed", () => app.refreshed());
  await app.begin();
  page.workspace.addEventListener("active", () => app.graph?.setDirtyCanvas());
}

/** @param {App} page @param {string} address */
async function run(page, address) {
  const script = scriptOf(address);
  try {
    const url = page.api.url(address).href;
    const response = await fetch(url);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    inspect(address, await response.text());
    await import(url);
    script.state = "loaded";
  } catch (error) {
    script.state = "failed";
    note(address, `did not load: ${error instanceof Error ? error.message : error}`);
  }
}

export { scripts };
