// The server as the editor sees it: requests, and events over one socket that comes back by itself.

const FIRST_RETRY_MS = 300;
const LONGEST_RETRY_MS = 5000;
const FRAME = Object.freeze({ preview: 1, text: 3, previewOf: 4 });
/** @type {Readonly<Record<number, string>>} */
const IMAGE_TYPES = { 1: "image/jpeg", 2: "image/png" };

/** @typedef {{message?: string, details?: string, type?: string, hint?: string, extra_info?: Record<string, unknown>}} ErrorBody */
/** @typedef {{filename: string, subfolder?: string, type?: string}} FileRef  a file the server can show */
/** @typedef {"connecting" | "open" | "lost"} Connection */

/** The server refused a request. The message is a sentence; `body` is what it sent. */
export class Refused extends Error {
  name = "Refused";

  /** @param {number} status @param {any} body */
  constructor(status, body) {
    const error = typeof body?.error === "string" ? { message: body.error } : body?.error ?? {};
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
    /** @type {ErrorBody} */
    this.error = error;
    /** @type {Record<string, {class_type?: string, errors: ErrorBody[]}>} */
    this.nodeErrors = body?.node_errors ?? {};
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {
  name = "Unreachable";
}

/**
 * Dispatches every event of the server under its own type with its data in `detail`, and besides
 * `preview` {blob, job, node}, `text` {node, text} and `connection` (Connection).
 */
export class Api extends EventTarget {
  /** @type {WebSocket | null} */
  #socket = null;
  #retry = FIRST_RETRY_MS;
  /** @type {number | null} */
  #seen = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #due;
  /** @type {Connection} */
  connection = "connecting";

  /** @param {URL} [base] */
  constructor(base = new URL("/", location.href)) {
    super();
    this.base = base;
    this.clientId = newId(); // a socket of its own for every page: a copied tab copies its storage, too
  }

  /**
   * @param {string} path
   * @param {Record<string, unknown>} [query]
   */
  url(path, query = {}) {
    const url = new URL(path.replace(/^\//, ""), this.base);
    for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    return url;
  }

  /**
   * Address of a picture or another file; `preview` such as "webp;80" asks for a light copy.
   * @param {FileRef} file
   * @param {string | null} [preview]
   */
  viewUrl({ filename, subfolder = "", type = "output" }, preview = null) {
    return this.url("view", { filename, subfolder, type, preview, or_empty: preview === null ? null : true }).href; // a picture that is gone is no error of the page
  }

  /**
   * @param {string} path
   * @param {RequestInit} [options]
   * @returns {Promise<Response>}
   * @throws {Unreachable}
   */
  async fetch(path, options) {
    try {
      return await fetch(this.url(path), options);
    } catch (error) {
      throw new Unreachable("The server does not answer. Is it running?", { cause: error });
    }
  }

  /** @param {string} path @param {Record<string, unknown>} [query] @returns {Promise<any>} */
  async get(path, query) {
    return (await this.request("GET", this.url(path, query).href)).body;
  }

  /** @param {string} path @param {unknown} [body] @returns {Promise<any>} */
  async post(path, body = {}) {
    return (await this.request("POST", path, body)).body;
  }

  /** @param {string} path @returns {Promise<any>} */
  async delete(path) {
    return (await this.request("DELETE", path)).body;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]  a Blob, FormData or text as it is, anything else as JSON
   * @param {Record<string, string>} [headers]
   * @returns {Promise<{body: any, headers: Headers}>}
   * @throws {Refused | Unreachable}
   */
  async request(method, path, body, headers = {}) {
    const raw = body === undefined || body instanceof Blob || body instanceof FormData || typeof body === "string";
    const sent = /** @type {BodyInit | undefined} */ (raw ? body : JSON.stringify(body));
    const response = await this.fetch(path, { method, body: sent, headers: raw ? headers : { "Content-Type": "application/json", ...headers } });
    const text = await response.text();
    let parsed = null;
    try {
      parsed = text ? JSON.parse(text) : null;
    } catch {
      parsed = response.ok ? text : { error: { message: text.slice(0, 500) } };
    }
    if (!response.ok) throw new Refused(response.status, parsed);
    return { body: parsed, headers: response.headers };
  }

  /**
   * Put a file where nodes can read it.
   * @param {Blob} blob
   * @param {string} name
   * @param {{subfolder?: string, type?: "input" | "temp" | "output", overwrite?: boolean}} [options]
   * @returns {Promise<{name: string, subfolder: string, type: string}>}
   */
  async upload(blob, name, { subfolder = "", type = "input", overwrite = false } = {}) {
    const form = new FormData();
    form.append("image", blob, name);
    form.append("type", type);
    form.append("subfolder", subfolder);
    if (overwrite) form.append("overwrite", "true");
    return (await this.request("POST", "upload/image", form)).body;
  }

  /** Open the socket, and open it again whenever it is lost. */
  connect() {
    clearTimeout(this.#due);
    this.#socket?.close();
    const address = this.url("ws", { clientId: this.clientId, watch: 1, since: this.#seen });
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true, event_cursor: true } }));
      this.#retry = FIRST_RETRY_MS;
      this.#connected("open");
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#onText(data) : this.#onBinary(data));
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#connected("lost");
      this.#due = setTimeout(() => this.connect(), this.#retry);
      this.#retry = Math.min(this.#retry * 2, LONGEST_RETRY_MS);
    };
  }

  /** @param {Connection} state */
  #connected(state) {
    if (this.connection === state) return;
    this.connection = state;
    this.#tell("connection", state);
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** @param {string} raw */
  #onText(raw) {
    const { type, data, seq } = JSON.parse(raw);
    if (Number.isInteger(seq)) this.#seen = seq;
    else if (type === "feature_flags") this.#seen ??= data.event_cursor ?? null;
    this.#tell(type, data);
  }

  /** @param {ArrayBuffer} buffer */
  #onBinary(buffer) {
    const view = new DataView(buffer);
    const kind = view.getUint32(0);
    if (kind === FRAME.preview) {
      this.#tell("preview", { blob: new Blob([buffer.slice(8)], { type: IMAGE_TYPES[view.getUint32(4)] }), job: null, node: null });
    } else if (kind === FRAME.previewOf) {
      const length = view.getUint32(4);
      const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
      const blob = new Blob([buffer.slice(8 + length)], { type: about.image_type });
      this.#tell("preview", { blob, job: about.prompt_id, node: about.display_node_id ?? about.node_id });
    } else if (kind === FRAME.text) {
      const length = view.getUint32(4);
      const decoder = new TextDecoder();
      this.#tell("text", { node: decoder.decode(new Uint8Array(buffer, 8, length)), text: decoder.decode(new Uint8Array(buffer, 8 + length)) });
    }
  }
}

/** A random id; crypto.randomUUID exists only on secure origins, and a server on the local network is none. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
