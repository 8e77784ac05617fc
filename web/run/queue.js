// The queue and the history as lists to show: read again whenever the server says that something changed.

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("../format/prompt.js").Prompt} Prompt */
/** @typedef {{id: string, number: number, prompt: Prompt, extra: any, targets: string[], running: boolean}} Waiting */
/** @typedef {{id: string, prompt: Prompt, extra: any, outputs: Record<string, unknown>, status: any, at: number}} Past */

export const PAGE = 60;

/** Dispatches `change`. */
export class Queue extends EventTarget {
  /** @type {Waiting[]} in the order they run */
  waiting = [];
  /** @type {Past[]} newest first */
  history = [];
  /** How many jobs wait or run. */
  remaining = 0;
  /** Whether the lists are on screen; the count alone comes with the events. */
  watched = false;
  #api;
  #busy = false;
  #again = false;
  #shown = PAGE;

  /** @param {Api} api */
  constructor(api) {
    super();
    this.#api = api;
    api.addEventListener("status", (event) => {
      this.remaining = /** @type {CustomEvent} */ (event).detail?.status?.exec_info?.queue_remaining ?? 0;
      this.#changed();
      if (this.watched) this.refresh();
    });
  }

  /** Show more of the past. */
  more() {
    this.#shown += PAGE;
    return this.refresh();
  }

  /** Whether there may be more of the past than is shown. */
  get hasMore() {
    return this.history.length >= this.#shown;
  }

  /** Calls made while one is under way lead to exactly one more. */
  async refresh() {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    try {
      do {
        this.#again = false;
        const [queue, history] = await Promise.all([this.#api.get("queue"), this.#api.get("history", { max_items: this.#shown })]);
        /** @param {any[]} items @param {boolean} running @returns {Waiting[]} */
        const list = (items, running) => items.map(([number, id, prompt, extra, targets]) => ({ id, number, prompt, extra, targets, running }));
        this.waiting = [...list(queue.queue_running, true), ...list(queue.queue_pending, false).sort((a, b) => a.number - b.number)];
        this.history = Object.entries(history)
          .map(([id, { prompt, outputs, status }]) => ({ id, prompt: prompt[2], extra: prompt[3], outputs: outputs ?? {}, status, at: status?.messages?.at(-1)?.[1]?.timestamp ?? 0 }))
          .reverse();
        this.#changed();
      } while (this.#again);
    } catch {
      // the connection's own mark says that the server is away; it is asked again when it is back
    } finally {
      this.#busy = false;
    }
  }

  /** @param {readonly string[]} ids */
  async remove(ids) {
    await this.#api.post("queue", { delete: ids });
    await this.refresh();
  }

  /** Put waiting jobs right before another one, or first of all. @param {readonly string[]} ids @param {string | null} before */
  async move(ids, before) {
    await this.#api.post("queue/reorder", before === null ? { ids } : { ids, before });
    await this.refresh();
  }

  /** @param {readonly string[]} ids */
  async forget(ids) {
    await this.#api.post("history", { delete: ids });
    await this.refresh();
  }

  async forgetAll() {
    await this.#api.post("history", { clear: true });
    await this.refresh();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** How long a job took in seconds, from its first to its last word. @param {any} status */
export function tookSeconds(status) {
  const times = (status?.messages ?? []).map((/** @type {any} */ [, data]) => data?.timestamp).filter(Boolean);
  return times.length > 1 ? (Math.max(...times) - Math.min(...times)) / 1000 : null;
}

/** The text a job was asked with: the longest prompt that goes into a sampler, for lists and alternative texts. @param {Prompt} prompt */
export function caption(prompt) {
  const nodes = Object.values(prompt ?? {});
  const sampler = nodes.find(({ inputs }) => Array.isArray(inputs?.positive));
  const seen = new Set();
  let waiting = sampler ? [sampler.inputs.positive] : [];
  while (waiting.length) {
    const link = waiting.shift();
    const id = Array.isArray(link) ? String(link[0]) : "";
    if (!id || seen.has(id) || !prompt[id]) continue;
    seen.add(id);
    const { inputs } = prompt[id];
    const text = inputs.text ?? inputs.prompt ?? inputs.t5xxl ?? inputs.text_g;
    if (typeof text === "string" && text.trim()) return text.trim();
    waiting = [...waiting, ...Object.values(inputs).filter(Array.isArray)];
  }
  const texts = nodes.flatMap(({ inputs }) => Object.values(inputs ?? {}).filter((value) => typeof value === "string" && value.length > 12 && value.includes(" ")));
  return String(texts[0] ?? "").trim();
}
