// The server as this page sees it: requests, and events over one socket that reconnects by itself.
import { parse } from "./json.js";

const FIRST_RETRY_MS = 300;
const LONGEST_RETRY_MS = 5000;
const FRAME = { preview: 1, text: 3, previewOf: 4 };
const IMAGE_TYPES = { 1: "image/jpeg", 2: "image/png" };

/** The server refused a request. `error` and `nodeErrors` are the parsed body, where it had one. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? body?.error ?? `The server answered ${status}.`);
    this.status = status;
    this.error = body?.error ?? null;
    this.nodeErrors = body?.node_errors ?? {};
  }
}

/**
 * Dispatches every event of the server under its own type with its data in `detail`, and besides
 * `preview` {blob, job, node} and `connection` "open" | "lost".
 */
export class Server extends EventTarget {
  #socket = null;
  #retry = FIRST_RETRY_MS;
  #seen = null;

  constructor(base = new URL(".", document.baseURI), storage = sessionStorage) {
    super();
    this.base = base;
    this.clientId = storage.getItem("client") ?? newId();
    storage.setItem("client", this.clientId);
  }

  url(path, query = {}) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return url;
  }

  /** Address of an output picture; `preview` such as "webp;80" asks for a light copy. */
  imageUrl({ filename, subfolder = "", type = "output" }, preview = null) {
    return this.url("view", { filename, subfolder, type, ...(preview && { preview }) }).href;
  }

  async get(path, query) {
    return this.#answer(await fetch(this.url(path, query)));
  }

  async post(path, body) {
    const headers = { "Content-Type": "application/json" };
    return this.#answer(await fetch(this.url(path), { method: "POST", headers, body: JSON.stringify(body) }));
  }

  async #answer(response) {
    const raw = await response.text();
    let body = null;
    try { body = raw ? parse(raw) : null; } catch { body = { error: { message: raw.slice(0, 500) } }; }
    if (!response.ok) throw new Refused(response.status, body);
    return body;
  }

  connect() {
    const address = this.url("ws", { clientId: this.clientId, ...(this.#seen !== null && { since: this.#seen }) });
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = this.#socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true, event_cursor: true } }));
      this.#retry = FIRST_RETRY_MS;
      this.#tell("connection", "open");
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#onText(data) : this.#onBinary(data));
    socket.onclose = () => {
      this.#tell("connection", "lost");
      setTimeout(() => this.connect(), this.#retry);
      this.#retry = Math.min(this.#retry * 2, LONGEST_RETRY_MS);
    };
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #onText(raw) {
    const { type, data, seq } = JSON.parse(raw);
    if (Number.isInteger(seq)) this.#seen = seq;
    else if (type === "feature_flags") this.#seen ??= data.event_cursor ?? null;
    this.#tell(type, data);
  }

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
    }
  }
}

/** A random id; crypto.randomUUID exists only on secure origins, and a server on the local network is none. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
