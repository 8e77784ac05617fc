// The queue and the history.
import { caption } from "../core/graph.js";
import { byId, make } from "./dom.js";

const SHOWN = 20;

export class Jobs {
  #busy = false; #again = false;

  /** `reuse(graph)` loads the graph of an earlier job into the form. */
  constructor(server, reuse) {
    this.server = server;
    this.reuse = reuse;
  }

  /** Read both lists; calls made while one is under way lead to exactly one more. */
  async refresh() {
    if (this.#busy) { this.#again = true; return; }
    this.#busy = true;
    try {
      do {
        this.#again = false;
        const [queue, history] = await Promise.all([this.server.get("queue"), this.server.get("history", { max_items: SHOWN })]);
        this.#drawQueue(queue);
        this.#drawHistory(history);
      } while (this.#again);
    } finally {
      this.#busy = false;
    }
  }

  #drawQueue({ queue_running: running, queue_pending: pending }) {
    const rows = [
      ...running.map(([, id, graph]) => this.#row(graph, "Running", "Cancel", () => this.server.post("interrupt", { prompt_id: id }))),
      ...[...pending].sort((a, b) => a[0] - b[0]).map(([, id, graph]) =>
        this.#row(graph, "Waiting", "Remove", () => this.server.post("queue", { delete: [id] }).then(() => this.refresh()))),
    ];
    byId("queue").replaceChildren(...(rows.length ? rows : [make("li", { class: "none" }, "Nothing is waiting.")]));
  }

  #drawHistory(history) {
    const rows = Object.values(history).reverse().map(({ prompt: [, , graph], outputs, status }) => {
      const image = Object.values(outputs ?? {}).flatMap((output) => output?.images ?? [])[0];
      const failed = status && status.status_str !== "success";
      const row = this.#row(graph, failed ? failure(status) : "Done", "Use again", () => this.reuse(graph), failed);
      if (image) row.prepend(make("img", { src: this.server.imageUrl(image, "webp;70"), alt: "", loading: "lazy" }));
      return row;
    });
    byId("history").replaceChildren(...(rows.length ? rows : [make("li", { class: "none" }, "No jobs yet.")]));
  }

  #row(graph, state, action, act, failed = false) {
    const words = caption(graph) || "(empty prompt)";
    const button = make("button", { type: "button", onclick: act }, action);
    button.setAttribute("aria-label", `${action}: ${words}`);
    const what = make("span", { class: "what" }, make("span", { class: "words" }, words), make("span", { class: failed ? "state failed" : "state" }, state));
    return make("li", {}, what, button);
  }
}

function failure(status) {
  const [type, data] = status.messages?.at(-1) ?? [];
  if (type === "execution_interrupted") return "Cancelled";
  return data?.exception_message ? `Failed: ${data.exception_message.trim()}` : "Failed";
}
