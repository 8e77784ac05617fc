// What the last run did with each node of one workflow. Ids are those of the run: "5", or "12:5" inside an instance of a subgraph.

/** @typedef {"idle" | "queued" | "running" | "done" | "cached" | "error"} Status */
/** @typedef {{url: string, kind: "image" | "audio" | "video" | "text" | "file", filename: string, subfolder: string, type: string, text?: string}} Output */
/**
 * @typedef {object} NodeRun
 * @property {Status} status
 * @property {readonly [number, number] | null} progress  value and total
 * @property {string | null} preview  address of a picture in the making
 * @property {readonly Output[]} outputs  what the node showed; stays until it shows something else
 * @property {number | null} seconds
 * @property {string | null} reason  why it ran again
 * @property {{message: string, hint: string} | null} error
 */

/** @type {Readonly<NodeRun>} */
export const IDLE = Object.freeze({ status: "idle", progress: null, preview: null, outputs: Object.freeze([]), seconds: null, reason: null, error: null });

const KEPT_MS = 4000;

export class RunState {
  /** @type {Map<string, Readonly<NodeRun>>} */
  #nodes = new Map();
  /** @type {Set<(ids: ReadonlySet<string>) => void>} */
  #listeners = new Set();
  /** @type {Set<string>} */
  #changed = new Set();

  /** @param {string | number} id @returns {Readonly<NodeRun>} */
  of(id) {
    return this.#nodes.get(String(id)) ?? IDLE;
  }

  /** Every node something is known of. @returns {ReadonlyMap<string, Readonly<NodeRun>>} */
  get all() {
    return this.#nodes;
  }

  /**
   * Hear which nodes changed, at most once per task.
   * @param {(ids: ReadonlySet<string>) => void} listener
   * @returns {() => void} stops it
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * @param {string} id
   * @param {Partial<NodeRun>} change
   */
  set(id, change) {
    const before = this.of(id);
    if (change.preview !== undefined && before.preview && before.preview !== change.preview) letGo(before.preview);
    this.#nodes.set(id, Object.freeze({ ...before, ...change }));
    this.#tell(id);
    this.#lift(id, change);
  }

  /**
   * A run begins: its nodes wait, the others are idle; pictures stay until new ones come.
   * @param {Iterable<string>} ids
   */
  start(ids) {
    const waiting = new Set(ids);
    for (const id of [...this.#nodes.keys(), ...waiting]) {
      this.set(id, { status: waiting.has(id) ? "queued" : "idle", progress: null, preview: null, seconds: null, reason: null, error: null });
    }
  }

  /** The run is over: nothing waits or runs any more. */
  end() {
    for (const [id, { status }] of this.#nodes) {
      if (status === "running" || status === "queued") this.set(id, { status: "idle", progress: null, preview: null });
      else if (this.of(id).preview) this.set(id, { preview: null });
    }
  }

  /** Forget everything, pictures too. */
  clear() {
    for (const [id, { preview }] of this.#nodes) {
      if (preview) letGo(preview);
      this.#tell(id);
    }
    this.#nodes.clear();
  }

  /** An instance of a subgraph shows what goes on inside. @param {string} id @param {Partial<NodeRun>} change */
  #lift(id, change) {
    const cut = id.lastIndexOf(":");
    if (cut < 0) return;
    const outer = id.slice(0, cut);
    /** @type {Partial<NodeRun>} */
    const lifted = {};
    if (change.preview) lifted.preview = change.preview;
    if (change.error) lifted.error = change.error;
    if (change.outputs?.length) lifted.outputs = change.outputs;
    if (change.status !== undefined) {
      const inside = [...this.#nodes].filter(([each]) => each.startsWith(`${outer}:`)).map(([, run]) => run.status);
      const ended = inside.filter((status) => status === "done" || status === "cached").length;
      lifted.progress = [ended, inside.length];
      if (inside.includes("error")) lifted.status = "error";
      else if (inside.includes("running")) lifted.status = "running";
      else if (inside.includes("queued")) lifted.status = ended ? "running" : "queued";
      else if (inside.every((status) => status === "cached")) lifted.status = "cached";
      else lifted.status = ended ? "done" : "idle";
      if (lifted.status !== "running") lifted.progress = null;
    }
    if (Object.keys(lifted).length) {
      this.#nodes.set(outer, Object.freeze({ ...this.of(outer), ...lifted }));
      this.#tell(outer);
      this.#lift(outer, lifted);
    }
  }

  /** @param {string} id */
  #tell(id) {
    if (!this.#changed.size) queueMicrotask(() => this.#flush());
    this.#changed.add(id);
  }

  #flush() {
    const changed = this.#changed;
    this.#changed = new Set();
    for (const listener of [...this.#listeners]) listener(changed);
  }
}

/** Give a picture back once nobody can be about to show it any more. @param {string} url */
function letGo(url) {
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}
