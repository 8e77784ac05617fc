// The `api` object of node packs: requests and events of the server under the names they use.

import { missing } from "./report.js";

/** @typedef {import("../run/api.js").Api} Api */

/** Events that have another form there: our type, and the detail made of ours. @type {Readonly<Record<string, readonly [string, (detail: any) => any]>>} */
const SHAPES = {
  status: ["status", (data) => data?.status ?? data],
  executing: ["executing", (data) => data?.display_node ?? data?.node ?? null],
  b_preview: ["preview", (data) => data.blob],
  b_preview_with_metadata: ["preview", ({ blob, job, node }) => ({ blob, promptId: job, nodeId: node, displayNodeId: node, parentNodeId: node, realNodeId: node })],
  progress_text: ["text", ({ node, text }) => ({ nodeId: node, text })],
};
/** Events that are not the server's. */
const OWN = new Set(["reconnecting", "reconnected", "graphChanged", "promptQueued", "promptQueueing"]);

export class PackApi extends EventTarget {
  #api;
  #heard = new Set();
  #lost = false;

  /** @param {Api} api */
  constructor(api) {
    super();
    this.#api = api;
    this.api_base = location.pathname.replace(/\/[^/]*$/, "");
    this.api_host = location.host;
    this.initialClientId = api.clientId;
    this.user = undefined;
    api.addEventListener("connection", (event) => {
      const state = /** @type {CustomEvent} */ (event).detail;
      if (state === "open" && this.#lost) this.dispatchCustomEvent("reconnected");
      if (state === "lost") this.dispatchCustomEvent("reconnecting");
      this.#lost = state === "lost";
    });
  }

  get clientId() {
    return this.#api.clientId;
  }

  get socket() {
    missing("api.socket");
    return undefined;
  }

  /** @param {string} type @param {any} listener @param {any} [options] */
  addEventListener(type, listener, options) {
    if (!this.#heard.has(type) && !OWN.has(type)) {
      this.#heard.add(type);
      const [ours, shape] = SHAPES[type] ?? [type, (/** @type {any} */ data) => data];
      this.#api.addEventListener(ours, (event) => this.dispatchCustomEvent(type, shape(/** @type {CustomEvent} */ (event).detail)));
    }
    super.addEventListener(type, listener, options);
  }

  /** @param {string} type @param {any} listener */
  addCustomEventListener(type, listener) {
    this.addEventListener(type, listener);
  }

  /** @param {string} type @param {unknown} [detail] */
  dispatchCustomEvent(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail: detail ?? null }));
  }

  /** @param {string} route */
  apiURL(route) {
    return this.#api.url(`api${route.startsWith("/") ? "" : "/"}${route}`).pathname + (route.includes("?") ? route.slice(route.indexOf("?")) : "");
  }

  /** @param {string} route */
  fileURL(route) {
    return this.#api.url(route).pathname;
  }

  /** @param {string} route */
  internalURL(route) {
    return this.fileURL(`/internal${route}`);
  }

  /** @param {string} route @param {RequestInit} [options] */
  fetchApi(route, options) {
    return fetch(this.apiURL(route), { ...options, headers: { ...options?.headers } });
  }

  /** Send a prompt. Scripts may wrap this; runs of the editor go through it, too. @param {number} number @param {{output: any, workflow?: any}} data @param {any} [options] @returns {Promise<any>} */
  async queuePrompt(number, data, options = {}) {
    const body = {
      prompt: data.output,
      client_id: this.clientId,
      extra_data: { extra_pnginfo: { workflow: data.workflow } },
      ...(number === -1 ? { front: true } : number ? { number } : {}),
      ...(options.partialExecutionTargets ? { partial_execution_targets: options.partialExecutionTargets } : {}),
    };
    const more = this.bodyOf?.(body);
    this.bodyOf = null;
    return this.#api.post("prompt", { ...body, ...more });
  }

  /** What the editor adds to a prompt it sends itself. @type {((body: any) => any) | null} */
  bodyOf = null;

  getNodeDefs() {
    return this.#api.get("object_info");
  }

  getEmbeddings() {
    return this.#api.get("embeddings");
  }

  getExtensions() {
    return this.#api.get("extensions");
  }

  getSystemStats() {
    return this.#api.get("system_stats");
  }

  getQueue() {
    return this.#api.get("queue").then(({ queue_running, queue_pending }) => ({ Running: queue_running, Pending: queue_pending }));
  }

  /** @param {number} [most] */
  async getHistory(most = 200) {
    return { History: Object.values(await this.#api.get("history", { max_items: most })) };
  }

  /** @param {string} [folder] */
  getModels(folder) {
    return this.#api.get(folder ? `models/${encodeURIComponent(folder)}` : "models");
  }

  /** @param {string | null} [_job] */
  interrupt(_job) {
    return this.#api.post("interrupt", {});
  }

  /** @param {string} kind @param {string} id */
  deleteItem(kind, id) {
    return this.#api.post(kind, { delete: [id] });
  }

  /** @param {string} kind */
  clearItems(kind) {
    return this.#api.post(kind, { clear: true });
  }

  getSettings() {
    return this.#api.get("settings");
  }

  /** @param {string} id */
  getSetting(id) {
    return this.#api.get(`settings/${encodeURIComponent(id)}`);
  }

  /** @param {Record<string, unknown>} settings */
  storeSettings(settings) {
    return this.#api.post("settings", settings);
  }

  /** @param {string} id @param {unknown} value */
  async storeSetting(id, value) {
    return (await this.#api.request("POST", `settings/${encodeURIComponent(id)}`, JSON.stringify(value), { "Content-Type": "application/json" })).body;
  }

  /** @param {string} file @param {RequestInit} [options] */
  getUserData(file, options) {
    return this.fetchApi(`/userdata/${encodeURIComponent(file)}`, options);
  }

  /** @param {string} file @param {any} data @param {any} [options] */
  storeUserData(file, data, { overwrite = true, stringify = true, throwOnError = true } = {}) {
    return this.fetchApi(`/userdata/${encodeURIComponent(file)}?overwrite=${overwrite}`, { method: "POST", body: stringify ? JSON.stringify(data) : data }).then((response) => {
      if (!response.ok && throwOnError) throw new Error(`${file} could not be kept: ${response.status}`);
      return response;
    });
  }

  /** @param {string} file */
  deleteUserData(file) {
    return this.fetchApi(`/userdata/${encodeURIComponent(file)}`, { method: "DELETE" });
  }

  /** @param {string} folder @param {boolean} [recurse] @param {boolean} [split] */
  listUserData(folder, recurse = true, split = false) {
    return this.#api.get("userdata", { dir: folder, recurse, split, or_empty: true });
  }
}
