// The `app` object of node packs. It stands for the page: the workflow on screen, its runs, settings, menus and panels.

import { Definitions } from "../core/definitions.js";
import { fromPrompt } from "../format/from_prompt.js";
import { toPrompt } from "../format/prompt.js";
import { writeWorkflow } from "../format/workflow.js";
import { importFile } from "../files/import.js";
import { PackApi } from "./api.js";
import { createCanvas } from "./canvas.js";
import { Host } from "./host.js";
import { askingFile, note, scriptOf } from "./report.js";
import { createManager, createUi } from "./manager.js";
import { NodeTypes } from "./types.js";
import { ComfyWidgets } from "./widgets.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("../files/workspace.js").Tab} Tab */

export class PackApp {
  /** @type {any[]} */
  extensions = [];
  /** @type {Record<string, any>} */
  nodeOutputs = {};
  /** @type {Record<string, any>} */
  nodePreviewImages = {};
  /** @type {string | null} */
  runningNodeId = null;
  configuringGraph = false;
  widgets = ComfyWidgets;
  vueAppReady = true;
  storageLocation = "server";
  isNewUserSession = false;
  shiftDown = false;
  /** @type {any} */
  lastNodeErrors = null;
  /** @type {any} */
  lastExecutionError = null;
  #ready = false;
  /** @type {Map<string, Host>} by key of the tab */
  #hosts = new Map();
  /** @type {Host | null} the one whose nodes are being made */
  #opening = null;

  /** @param {App} page */
  constructor(page) {
    this.page = page;
    this.actions = page.actions;
    this.api = new PackApi(page.api);
    this.types = new NodeTypes(() => page.shared.definitions);
    this.canvas = createCanvas(this);
    this.ui = createUi(this);
    this.extensionManager = createManager(this);
    this.menu = this.ui.menu;
    /** The editor's own way to run. */
    this.runPlainly = page.centre.run.bind(page.centre);
    addEventListener("keydown", ({ shiftKey }) => (this.shiftDown = shiftKey));
    addEventListener("keyup", ({ shiftKey }) => (this.shiftDown = shiftKey));
  }

  canvasHandle() {
    return this.page.view.canvas;
  }

  /** @returns {Tab | null} */
  get tab() {
    return this.page.workspace.active;
  }

  get session() {
    return this.tab?.session ?? null;
  }

  /** @returns {Host | null} */
  get host() {
    return this.#opening ?? (this.tab && this.#hosts.get(this.tab.key)) ?? null;
  }

  get graph() {
    return this.host?.graph("root") ?? null;
  }

  get rootGraph() {
    return this.graph;
  }

  get canvasEl() {
    return this.canvas.canvas;
  }

  get canvasContainer() {
    return document.querySelector(".canvas-host");
  }

  /** @param {import("../core/document.js").Document} document */
  hostOf(document) {
    for (const host of this.#hosts.values()) if (host.session.document === document) return host;
    return null;
  }

  // ---- extensions

  /** @param {any} extension  {name, and hooks} */
  registerExtension(extension) {
    if (!extension?.name) throw new Error("An extension needs a name.");
    if (this.extensions.some(({ name }) => name === extension.name)) throw new Error(`An extension named '${extension.name}' is registered already.`);
    this.extensions.push(extension);
    const file = askingFile();
    if (file) scriptOf(file).extensions.push(extension.name);
    this.extensionManager.take(extension);
    if (this.#ready) this.#late(extension);
  }

  /** One that comes after the others were set up. @param {any} extension */
  async #late(extension) {
    await this.guard(() => extension.init?.(this));
    for (const [name, Type] of Object.entries(this.types.byName)) if (Type.nodeData) await this.guard(() => extension.beforeRegisterNodeDef?.(Type, Type.nodeData, this));
    await this.guard(() => extension.setup?.(this));
    this.host?.each((node) => this.guard(() => extension.nodeCreated?.(node, this)));
  }

  /** Call a hook of every extension; what goes wrong is told and stops nobody else. @param {string} name @param {...any} args @returns {Promise<any[]>} */
  hook(name, ...args) {
    return Promise.all(this.extensions.map((extension) => this.guard(() => extension[name]?.(...args, this))));
  }

  /** Run code of a script. @template T @param {() => T} run @returns {T | undefined} */
  guard(run) {
    try {
      const result = run();
      if (result instanceof Promise) return /** @type {any} */ (result.catch((error) => this.#blame(error)));
      return result;
    } catch (error) {
      this.#blame(error);
      return undefined;
    }
  }

  /** @param {unknown} error */
  #blame(error) {
    const file = /\/extensions\/[^\s:?)]+\.js/.exec(error instanceof Error ? (error.stack ?? "") : "")?.[0];
    const message = error instanceof Error ? error.message : String(error);
    if (file) note(file, `failed: ${message}`);
    console.warn("A script of a node pack failed:", error);
  }

  /** Before any node is made: what scripts know of types. @param {Record<string, any>} info  of /object_info @returns {Promise<void>} */
  async prepare(info) {
    for (const found of await this.hook("getCustomWidgets")) Object.assign(this.types.widgets, found ?? {});
    for (const [type, make] of Object.entries(this.types.widgets)) ComfyWidgets[type] ??= make;
    await this.hook("init");
    await this.hook("addCustomNodeDefs", info);
    for (const [name, data] of Object.entries(info)) {
      data.name ??= name;
      const Type = this.types.define(name, data);
      await this.hook("beforeRegisterNodeDef", Type, data);
    }
    await this.hook("registerCustomNodes");
  }

  /**
   * The definitions of the editor with what scripts add to them. What scripts changed in the definition of a type stays when it is read again;
   * only the choices are the new ones.
   * @param {Record<string, any>} info
   */
  definitionsOf(info) {
    const all = { ...info };
    for (const [name, data] of Object.entries(info)) {
      const known = this.types.byName[name]?.nodeData;
      if (!known || known === data) continue;
      for (const section of ["required", "optional"]) {
        for (const [input, spec] of Object.entries(data.input?.[section] ?? {})) {
          const its = known.input?.[section]?.[input];
          if (!Array.isArray(its) || !Array.isArray(spec)) continue;
          if (Array.isArray(spec[0])) its[0] = spec[0];
          else if (Array.isArray(spec[1]?.options) && its[1]) its[1].options = spec[1].options;
        }
      }
      all[name] = known;
    }
    return new Definitions({ ...this.types.added, ...all }, Object.keys(this.types.widgets));
  }

  /** Models and nodes were read again. */
  refreshed() {
    for (const host of this.#hosts.values()) host.refreshed();
    this.hook("refreshComboInNodes", Object.fromEntries(Object.entries(this.types.byName).map(([name, Type]) => [name, Type.nodeData])));
  }

  /** Before a workflow is written. @param {import("../core/document.js").Document} document */
  keep(document) {
    this.hostOf(document)?.keep();
  }

  /** Everything is there: nodes of open workflows are made, and extensions set up. */
  async begin() {
    this.#ready = true;
    for (const tab of this.page.workspace.tabs) this.opened(tab);
    await this.hook("setup");
  }

  // ---- workflows

  /** @param {Tab} tab */
  opened(tab) {
    if (!this.#ready || this.#hosts.has(tab.key)) return;
    const host = new Host(this, tab.session);
    this.#hosts.set(tab.key, host);
    this.#opening = host;
    this.configuringGraph = true;
    try {
      host.open();
    } finally {
      this.#opening = null;
      this.configuringGraph = false;
    }
  }

  /** @param {Tab} tab */
  closed(tab) {
    this.#hosts.delete(tab.key);
  }

  /** @param {any} data @param {boolean} [_clean] @param {boolean} [_view] @param {any} [workflow] */
  async loadGraphData(data, _clean, _view, workflow) {
    this.page.open(typeof data === "string" ? JSON.parse(data) : (data ?? { nodes: [], links: [], version: 0.4 }), { name: typeof workflow === "string" ? workflow : undefined });
  }

  /** @param {any} prompt @param {string} [name] */
  loadApiJson(prompt, name) {
    this.page.workspace.open(writeWorkflow(fromPrompt(prompt, this.page.shared.definitions).document), { name });
  }

  /** @param {File} file */
  async handleFile(file) {
    await importFile(this.page, file);
  }

  async refreshComboInNodes() {
    document.dispatchEvent(new Event("emulsion-refresh"));
  }

  clean() {
    this.graph?.clear();
  }

  // ---- running

  /** The graph as it runs and as it is kept, with the values of scripts' widgets. Scripts may wrap this. @returns {Promise<{workflow: any, output: any}>} */
  async graphToPrompt() {
    const { host } = this;
    const session = this.composing?.session ?? host?.session;
    if (!session) return { workflow: { nodes: [], links: [] }, output: {} };
    const own = this.hostOf(session.document);
    if (own) {
      own.keep();
      own.each((node) => node.isVirtualNode && this.guard(() => node.applyToGraph?.()));
    }
    const { prompt, problems } = toPrompt(session.document, session.definitions);
    if (this.composing) this.composing.problems = problems;
    if (own) await this.#fill(own, prompt);
    return { workflow: writeWorkflow(session.document), output: prompt };
  }

  /** Values only scripts know; and nodes of scripts alone do not run. @param {Host} host @param {any} prompt */
  async #fill(host, prompt) {
    for (const [id, entry] of Object.entries(prompt)) {
      const node = host.byExecution(id);
      if (!node || node.isVirtualNode) continue;
      for (const [at, widget] of node.widgets.entries()) {
        if (widget.options?.serialize === false || widget.type === "button" || widget.entry?.role === "control" || Array.isArray(entry.inputs[widget.name])) continue;
        const plain = widget.entry && !widget.foreign;
        if (plain && !widget.serializeValue && !Object.getOwnPropertyDescriptor(widget, "value")) continue;
        const value = widget.serializeValue ? await this.guard(() => widget.serializeValue(node, at)) : widget.value;
        if (value !== undefined) entry.inputs[widget.name] = Array.isArray(value) ? { __value__: value } : value;
      }
    }
    const virtual = Object.keys(prompt).filter((id) => host.byExecution(id)?.isVirtualNode);
    if (!virtual.length) return;
    for (const [id, entry] of Object.entries(prompt)) {
      for (const [name, value] of Object.entries(entry.inputs)) {
        if (!Array.isArray(value)) continue;
        const source = this.#source(host, id, value);
        if (source) entry.inputs[name] = source;
        else delete entry.inputs[name];
      }
    }
    for (const id of virtual) delete prompt[id];
  }

  /** What really feeds a link: nodes of scripts pass on what they say they do. @param {Host} host @param {string} of @param {any} link @returns {[string, number] | null} */
  #source(host, of, [id, slot]) {
    const prefix = of.includes(":") ? of.slice(0, of.lastIndexOf(":") + 1) : "";
    for (let steps = 0; steps < 100; steps++) {
      const node = host.byExecution(id);
      if (!node?.isVirtualNode) return [id, slot];
      const resolved = this.guard(() => node.resolveVirtualOutput?.(slot));
      const next = resolved ? { origin_id: resolved.node.id, origin_slot: resolved.slot } : this.guard(() => node.getInputLink(slot) ?? node.getInputLink(0));
      if (!next) return null;
      [id, slot] = [prefix + next.origin_id, next.origin_slot];
    }
    return null;
  }

  /** @type {{session: import("../session.js").Session, problems: any[]} | null} the run that is being made */
  composing = null;

  /** What the editor sends: made by `graphToPrompt`, so that scripts that wrap it have their say. @param {import("../session.js").Session} session */
  async compose(session) {
    this.composing = { session, problems: [] };
    try {
      const host = this.hostOf(session.document);
      const targets = /** @type {any[]} */ ([]);
      host?.each((node) => targets.push(...node.widgets));
      for (const widget of targets) this.guard(() => widget.beforeQueued?.({ isPartialExecution: false }));
      const { output, workflow } = await this.graphToPrompt();
      return { prompt: output, workflow, problems: this.composing.problems, sent: () => targets.forEach((widget) => this.guard(() => widget.afterQueued?.({ isPartialExecution: false }))) };
    } finally {
      this.composing = null;
    }
  }

  /** @param {number} [number] -1: before all others @param {number} [count] @param {string[]} [targets] */
  async queuePrompt(number = 0, count = 1, targets) {
    const { tab } = this;
    if (!tab) return false;
    this.api.dispatchCustomEvent("promptQueueing", { number, batchCount: count });
    const accepted = await this.runPlainly(tab.key, { front: number === -1, count, targets });
    this.api.dispatchCustomEvent("promptQueued", { number, batchCount: count });
    return accepted;
  }

  /** @param {string} job @returns {Host | null} */
  hostOfJob(job) {
    const key = this.page.centre.jobs.get(job)?.document;
    return (key && this.#hosts.get(key)) || this.host;
  }

  /** @param {any} data  of the event "executed" */
  executed(data) {
    const id = String(data.display_node ?? data.node);
    this.nodeOutputs[id] = data.output;
    const node = this.hostOfJob(data.prompt_id)?.byExecution(id);
    if (!node) return;
    if (Array.isArray(data.output?.images)) node.imgs = data.output.images.filter((/** @type {any} */ each) => each?.filename).map((/** @type {any} */ each) => Object.assign(new Image(), { src: this.page.api.viewUrl(each) }));
    this.guard(() => node.onExecuted?.(data.output));
    node.look();
    this.hook("onNodeOutputsUpdated", this.nodeOutputs);
  }

  // ---- small things

  getPreviewFormatParam() {
    return "";
  }

  getRandParam() {
    return `&rand=${Math.random()}`;
  }

  /** @param {string} name */
  getNodeDef(name) {
    return this.types.byName[name]?.nodeData;
  }

  async getNodeDefs() {
    return this.api.getNodeDefs();
  }

  registerNodeDef(/** @type {string} */ name, /** @type {any} */ data) {
    const Type = this.types.define(name, data);
    return this.hook("beforeRegisterNodeDef", Type, data);
  }

  showErrorOnFileLoad() {}
  clientPosToCanvasPos(/** @type {[number, number]} */ [x, y]) {
    return this.canvas.convertEventToCanvasOffset({ clientX: x, clientY: y });
  }
  canvasPosToClientPos(/** @type {[number, number]} */ place) {
    return this.canvas.convertOffsetToCanvas(place);
  }
}
