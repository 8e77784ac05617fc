// Where one is among the subgraphs, and the way back out.

import { ROOT } from "../core/records.js";
import { t } from "../shell/i18n.js";
import { make } from "./dom.js";

/** @typedef {import("./stage.js").Stage} Stage */

export class Crumbs {
  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    this.element = make("nav", "crumbs", null, { "aria-label": t("Subgraphs"), "data-own-pointer": "" });
    stage.overlay.append(this.element);
    this.stops = [stage.on("entered", () => this.show()), stage.on("changed", () => this.show())];
    this.show();
  }

  show() {
    const { within, document: graph } = this.stage.session;
    this.element.hidden = within.length === 0;
    if (!within.length) return this.element.replaceChildren();
    let name = ROOT;
    const parts = [{ label: t("Graph"), path: /** @type {import("../core/records.js").Id[]} */ ([]) }];
    within.forEach((id, i) => {
      const node = graph.graph(name).nodes.get(id);
      if (!node || !graph.hasGraph(node.type)) return;
      name = node.type;
      parts.push({ label: node.title || String(graph.graph(name).record.name ?? t("Subgraph")), path: within.slice(0, i + 1) });
    });
    this.element.replaceChildren(...parts.flatMap(({ label, path }, i) => {
      const button = make("button", "", label, { type: "button", ...(i === parts.length - 1 ? { "aria-current": "page" } : {}) });
      button.addEventListener("click", () => this.stage.enter(path));
      return i ? [make("i", "", "›", { "aria-hidden": "true" }), button] : [button];
    }));
    return undefined;
  }

  destroy() {
    for (const stop of this.stops) stop();
    this.element.remove();
  }
}
