// A link in a person's hand: what it may be dropped on, why not elsewhere, and what dropping it does.

import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../core/records.js";
import { connect, growInputs, removeLinks } from "../core/commands/links.js";
import { addBoundarySlot } from "../core/commands/boundary.js";
import { refusal } from "../core/types.js";
import { t } from "../shell/i18n.js";
import { colourOf } from "./colours.js";
import { curvesThrough } from "./curves.js";
import { make } from "./dom.js";
import { socketsOf } from "./scene.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./scene.js").SocketHit} SocketHit */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Why two sockets cannot be linked, as a sentence; null when they can.
 * @param {Stage} stage
 * @param {SocketHit} a
 * @param {SocketHit} b
 * @returns {string | null}
 */
export function whyNot(stage, a, b) {
  if (a.side === b.side) return a.side === "output" ? t("Both are outputs; a link goes from an output to an input.") : t("Both are inputs; a link goes from an output to an input.");
  const [output, input] = a.side === "output" ? [a, b] : [b, a];
  if (output.node === input.node) return t("A node cannot feed itself.");
  const reason = refusal(output.type, input.type);
  if (reason) return reason;
  if (output.node !== INPUT_BOUNDARY && input.node !== OUTPUT_BOUNDARY && reaches(stage, input.node, output.node)) return t("That would make a circle: this node already feeds the other.");
  return null;
}

/** Whether one node feeds another, directly or through others. @param {Stage} stage @param {Id} from @param {Id} to */
function reaches(stage, from, to) {
  const { linked } = stage.scene.view;
  const seen = new Set([from]);
  const waiting = [from];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (id === to) return true;
    for (const link of linked.outOf(id)) {
      if (seen.has(link.to)) continue;
      seen.add(link.to);
      waiting.push(link.to);
    }
  }
  return false;
}

/**
 * The socket of a node that fits best: a free one before one in use, sockets before widgets.
 * @param {Stage} stage
 * @param {SocketHit} held
 * @param {import("./scene.js").Item} item
 * @returns {SocketHit | null}
 */
export function bestSocket(stage, held, item) {
  const fitting = socketsOf(item).filter((socket) => whyNot(stage, held, socket) === null);
  const free = fitting.filter((socket) => socket.side === "output" || socket.slot < 0 || !stage.scene.view.linked.input(socket.node, socket.slot));
  /** @param {SocketHit[]} list */
  const first = (list) => list.find(({ widget, type }) => widget === null && type !== "*") ?? list.find(({ widget }) => widget === null) ?? null;
  return first(free) ?? first(fitting) ?? free[0] ?? fitting[0] ?? null;
}

/**
 * Link two sockets, in either order.
 * @param {Stage} stage
 * @param {SocketHit} a
 * @param {SocketHit} b
 */
export function join(stage, a, b) {
  const { document: graph } = stage.session;
  const name = stage.scene.graph;
  const [output, input] = a.side === "output" ? [a, b] : [b, a];
  graph.edit("Connect", () => {
    const from = { node: output.node, slot: output.slot };
    const to = { node: input.node, slot: /** @type {number | {name: string, type: import("../core/records.js").SlotType}} */ (input.slot < 0 ? { name: input.widget ?? "", type: input.type } : input.slot) };
    const record = graph.graph(name).record;
    if (output.node === INPUT_BOUNDARY && output.slot === (record.inputs ?? []).length) {
      const target = graph.graph(name).nodes.get(input.node);
      addBoundarySlot(graph, name, "inputs", input.widget ?? target?.inputs?.[input.slot]?.name ?? String(input.type), input.type);
    }
    if (input.node === OUTPUT_BOUNDARY && input.slot === (record.outputs ?? []).length) {
      const source = graph.graph(name).nodes.get(output.node);
      addBoundarySlot(graph, name, "outputs", source?.outputs?.[output.slot]?.name ?? String(output.type), output.type);
    }
    connect(graph, name, from, to);
    const target = graph.graph(name).nodes.get(input.node);
    const definition = target && stage.session.definitions.get(target.type);
    if (definition) growInputs(graph, name, input.node, definition);
  });
}

/** The gesture of dragging a link. */
export class LinkDrag {
  /** @type {SocketHit | null} */
  #target = null;
  #svg = document.createElementNS(SVG, "svg");
  #path = document.createElementNS(SVG, "path");
  #hint = make("div", "hint");

  /**
   * @param {Stage} stage
   * @param {SocketHit} start  where the drag began
   */
  constructor(stage, start) {
    this.stage = stage;
    /** The link that was picked up at its input. @type {Readonly<LinkRecord> | null} */
    this.picked = null;
    /** The socket that stays. */
    this.held = start;
    const existing = start.side === "input" && start.slot >= 0 ? stage.scene.view.linked.input(start.node, start.slot) : undefined;
    const origin = existing && stage.scene.item(existing.from);
    if (existing && origin) {
      const output = socketsOf(origin).find(({ side, slot }) => side === "output" && slot === existing.fromSlot);
      if (output) {
        this.picked = existing;
        this.held = output;
        stage.hiddenWires = new Set([existing.id]);
      }
    }
    this.#path.setAttribute("fill", "none");
    this.#path.setAttribute("stroke", colourOf(this.held.type, stage.theme.dark));
    this.#path.setAttribute("stroke-width", "3");
    this.#svg.append(this.#path);
    this.#hint.hidden = true;
    stage.overlay.append(this.#svg, this.#hint);
    stage.root.classList.add("linking");
    stage.dims = (item) => item.id !== this.held.node && bestSocket(stage, this.held, item) === null;
    stage.showLinking(this.held);
    stage.invalidate();
  }

  /** @param {number} x @param {number} y in graph units */
  move(x, y) {
    const { stage, held } = this;
    const reach = 14 / Math.min(1, stage.camera.scale);
    const socket = stage.scene.socketAt(x, y, reach);
    const item = stage.scene.nodeAt(x, y);
    let reason = socket && !(socket.node === held.node && socket.slot === held.slot && socket.side === held.side) ? whyNot(stage, held, socket) : null;
    this.#target = socket && reason === null && socket.side !== held.side ? socket : null;
    if (!socket && item && item.id !== held.node) {
      this.#target = bestSocket(stage, held, item);
      if (!this.#target) reason = t("{node} has nothing that {type} fits.", { node: item.face.title, type: String(held.type) });
    }
    const end = this.#target ? /** @type {const} */ ([this.#target.x, this.#target.y]) : /** @type {const} */ ([x, y]);
    const start = /** @type {const} */ ([held.x, held.y]);
    const [curve] = curvesThrough(held.side === "output" ? [start, end] : [end, start]);
    const at = curve.map((value, i) => stage.camera.toScreen(i % 2 ? 0 : value, i % 2 ? value : 0)[i % 2]);
    this.#path.setAttribute("d", `M${at[0]} ${at[1]}C${at[2]} ${at[3]} ${at[4]} ${at[5]} ${at[6]} ${at[7]}`);
    this.#path.setAttribute("stroke-dasharray", this.#target ? "" : "7 5");
    const words = reason ?? (this.#target ? this.#label(this.#target) : "");
    this.#hint.hidden = words === "";
    this.#hint.textContent = words;
    this.#hint.classList.toggle("bad", reason !== null);
    const [sx, sy] = stage.camera.toScreen(x, y);
    this.#hint.style.transform = `translate(${Math.min(sx + 16, stage.camera.width - 200)}px, ${sy + 14}px)`;
  }

  /** @param {SocketHit} socket */
  #label({ node, side, slot, widget }) {
    const item = this.stage.scene.item(node);
    const name = widget ?? (side === "output" ? item?.face.outputs : item?.face.inputs)?.find(({ index }) => index === slot)?.label ?? "";
    return `${item?.face.title ?? ""}: ${name}`;
  }

  /** Let go. @param {number} x @param {number} y @param {{x: number, y: number}} client */
  drop(x, y, client) {
    const { stage, held, picked } = this;
    const target = this.#target;
    const over = stage.scene.nodeAt(x, y) ?? stage.scene.socketAt(x, y);
    this.cancel();
    const { document: graph } = stage.session;
    if (target && picked && target.node === picked.to && target.slot === picked.toSlot) return;
    if (target) {
      graph.edit(picked ? "Move link" : "Connect", () => {
        if (picked) removeLinks(graph, stage.scene.graph, [picked.id]);
        join(stage, held, target);
      });
    } else if (picked && !over) removeLinks(graph, stage.scene.graph, [picked.id]);
    else if (!picked && !over) stage.emit("search", { at: /** @type {[number, number]} */ ([x, y]), client, link: held });
  }

  cancel() {
    this.#svg.remove();
    this.#hint.remove();
    this.stage.hiddenWires = new Set();
    this.stage.dims = null;
    this.stage.root.classList.remove("linking");
    this.stage.showLinking(null);
    this.stage.invalidate();
  }
}
