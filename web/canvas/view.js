// A node as elements of the page: near enough to be read and used. It follows its item; it never changes the document but through it.

import { BYPASSED, MUTED } from "../core/records.js";
import { frozenIn } from "../format/frozen.js";
import { t } from "../shell/i18n.js";
import { kind, kindOf } from "../widgets/registry.js";
import { colourOf, tone } from "./colours.js";
import { moreWords } from "./face.js";
import { make, uniqueId } from "./dom.js";
import { MediaView } from "./media.js";
import { cornersOf } from "./paint.js";
import { socketsOf } from "./scene.js";
import { leaveField } from "./typing.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("./scene.js").Item} Item */
/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../run/state.js").NodeRun} NodeRun */
/** @typedef {import("../widgets/registry.js").WidgetContext} WidgetContext */
/** @typedef {{host: HTMLElement, widget: import("../widgets/registry.js").Widget, context: WidgetContext, dot: HTMLElement | null}} Mounted */

/** @type {Readonly<Record<string, string>>} */
const STATE_WORDS = { queued: "waiting", running: "running", done: "done", cached: "kept from the last run", error: "failed" };

/** @type {WeakMap<Element, Id>} an attribute would not tell 5 from "5" */
const ids = new WeakMap();

/** The node an element belongs to. @param {Element} element @returns {Id | null} */
export function nodeOf(element) {
  const node = element.closest(".node");
  return (node && ids.get(node)) ?? null;
}

export class NodeView {
  /** @type {Map<string, Mounted>} */
  #widgets = new Map();
  #signature = "";
  /** @type {import("./face.js").Face | null} */
  #face = null;
  /** @type {import("./layout.js").Shape | null} */
  #shape = null;
  /** @type {MediaView | null} */
  #media = null;
  /** @type {Readonly<NodeRun> | null} */
  #run = null;

  /** @param {Stage} stage @param {Item} item */
  constructor(stage, item) {
    this.stage = stage;
    this.item = item;
    this.element = make("div", "node", null, { role: "group", "aria-roledescription": "node", tabindex: "-1" });
    this.element.dataset.node = String(item.id);
    ids.set(this.element, item.id);
    this.head = make("div", "head");
    this.title = make("span", "title");
    this.mark = make("span", "mark");
    this.bar = make("div", "bar");
    this.head.append(this.title, this.mark, this.bar);
    this.body = make("div", "body");
    this.element.append(this.head, this.body);
    this.update();
  }

  /** Elements it is made of, to keep the page within bounds. */
  get weight() {
    return 5 + (this.#face ? this.#face.inputs.length + this.#face.outputs.length + 5 * this.#face.widgets.length : 0);
  }

  update() {
    const { node, face, shape, bounds } = this.item;
    const style = this.element.style;
    style.transform = `translate(${bounds[0]}px, ${bounds[1]}px)`;
    const changed = face !== this.#face || shape !== this.#shape;
    this.#paintState();
    if (!changed) return;
    this.#face = face;
    this.#shape = shape;
    style.width = `${shape.width}px`;
    style.height = `${shape.title + shape.height}px`;
    this.head.style.height = `${shape.title}px`;
    this.title.textContent = face.title;
    this.title.title = face.title === face.type ? "" : face.type;
    this.element.dataset.kind = face.kind;
    this.element.classList.toggle("collapsed", shape.collapsed);
    this.element.classList.toggle("off", node.mode === MUTED || node.mode === BYPASSED);
    this.element.classList.toggle("bypassed", node.mode === BYPASSED);
    const frozen = frozenIn(node) !== null;
    this.element.classList.toggle("frozen", frozen);
    this.head.dataset.frozen = frozen ? t("frozen") : "";
    this.element.classList.toggle("pinned", node.flags?.pinned === true);
    style.setProperty("--corners", face.kind === "reroute" ? "" : cornersOf(node).map((radius) => `${radius}px`).join(" "));
    style.setProperty("--body", (node.bgcolor && tone(node.bgcolor, this.stage.theme.dark, "body")) || "");
    style.setProperty("--head", (node.color && tone(node.color, this.stage.theme.dark, "head")) || "");
    const signature = JSON.stringify([
      shape.collapsed, this.stage.theme.dark, face.inputs.map(({ label, type, optional }) => [label, type, optional]), face.outputs.map(({ label, type, list }) => [label, type, list]),
      face.widgets.map(({ name, label, input, control, fixed }) => [name, label, kindOf(input), control !== null, fixed]),
    ]) + (face.definition ? face.definition.type : "") + (face.more ? `${face.more.count} ${face.more.open}` : "");
    if (signature !== this.#signature) {
      const back = leaveField(this.body);
      if (back) {
        this.#face = null; // leaving may have changed the value: all of it once more
        this.update();
        this.stage.focused = this.item.id; // what has the focus already is not brought into view
        return back(this.body);
      }
      this.#rebuild(signature);
    }
    for (const [i, widget] of face.widgets.entries()) {
      const mounted = this.#widgets.get(widget.name);
      if (!mounted) continue;
      const { host, context } = mounted;
      host.style.top = `${shape.title + shape.widgets[i].y}px`;
      host.style.height = `${shape.widgets[i].height}px`;
      const was = [context.value, context.fed, context.control];
      Object.assign(context, { value: widget.value, fed: widget.fed, control: widget.control, node, input: widget.input });
      host.classList.toggle("fed", widget.fed);
      mounted.dot?.classList.toggle("on", widget.socket >= 0);
      if (was[0] !== widget.value || was[1] !== widget.fed || was[2] !== widget.control) mounted.widget.update(widget.value, context);
    }
    const more = /** @type {HTMLElement | null} */ (this.body.querySelector(".more-widgets"));
    if (more && shape.more) more.style.top = `${shape.title + shape.more.y}px`;
    this.#placeMedia();
  }

  /** @param {string} signature */
  #rebuild(signature) {
    this.#signature = signature;
    this.#clearWidgets();
    this.body.replaceChildren();
    const { face, shape, node } = this.item;
    if (shape.collapsed) {
      for (const side of /** @type {const} */ (["inputs", "outputs"])) if (face[side].length) this.body.append(this.#socket(side, face[side][0], shape.title / 2, ""));
      return;
    }
    for (const side of /** @type {const} */ (["inputs", "outputs"])) {
      face[side].forEach((slot, i) => this.body.append(this.#socket(side, slot, shape.title + shape[side][i].y, face.kind === "reroute" ? "" : slot.label)));
    }
    for (const widget of face.widgets) {
      const host = make("div", "widget");
      const id = uniqueId("w");
      /** @type {WidgetContext} */
      const context = {
        input: widget.input, label: widget.label, value: widget.value, control: widget.control, fed: widget.fed, node, session: this.stage.session, id,
        set: (value, { merge = false } = {}) => this.stage.setWidget(this.item.id, widget.name, value, merge),
        seal: () => this.stage.session.document.seal(),
        setControl: (value) => this.stage.setControl(this.item.id, widget.name, value),
      };
      const name = kindOf(widget.input);
      const found = /** @type {import("../widgets/registry.js").WidgetKind} */ (kind(name));
      host.dataset.widget = widget.name;
      host.dataset.kind = name;
      const tooltip = widget.input.options.tooltip;
      if (typeof tooltip === "string") host.title = tooltip;
      this.body.append(host);
      const mounted = found.create(host, context);
      let dot = null;
      if (face.kind === "node" || face.kind === "subgraph" || widget.socket >= 0) {
        dot = make("i", "dot");
        dot.style.setProperty("--c", colourOf(node.inputs?.[widget.socket]?.type ?? widget.input.type, this.stage.theme.dark));
        host.append(dot);
      }
      this.#widgets.set(widget.name, { host, widget: mounted, context, dot });
      mounted.update(widget.value, context);
    }
    if (face.more) {
      const button = make("button", "more-widgets", moreWords(face), { type: "button", "aria-expanded": String(face.more.open) });
      button.addEventListener("click", () => this.stage.unfold(this.item.id, !this.item.face.more?.open));
      this.body.append(button);
    }
  }

  /** @param {"inputs" | "outputs"} side @param {import("./face.js").FaceSlot} slot @param {number} y @param {string} label */
  #socket(side, slot, y, label) {
    const element = make("div", `socket ${side}${slot.list ? " list" : ""}${slot.optional ? " optional" : ""}`, label);
    element.style.top = `${y - 10}px`;
    element.style.setProperty("--c", colourOf(slot.type, this.stage.theme.dark));
    element.title = `${slot.label} (${Array.isArray(slot.type) ? "choice" : slot.type})${slot.tooltip ? `\n${slot.tooltip}` : ""}`;
    return element;
  }

  /** Selection, run and name of the node. */
  #paintState() {
    const { id, node, face } = this.item;
    const run = this.stage.run(id);
    const selected = this.stage.session.selection.selected.nodes.has(id);
    this.element.classList.toggle("selected", selected);
    if (run !== this.#run) {
      this.#run = run;
      this.element.dataset.status = run.status;
      this.bar.style.width = run.status === "running" && run.progress ? `${(100 * run.progress[0]) / Math.max(1, run.progress[1])}%` : "0";
      this.mark.textContent = run.status === "error" ? "!" : run.status === "cached" ? "kept" : run.status === "done" && run.seconds !== null ? time(run.seconds) : run.status === "running" && run.progress ? `${run.progress[0]}/${run.progress[1]}` : "";
      this.mark.title = [run.error ? `${run.error.message} ${run.error.hint}` : "", run.reason ?? ""].filter(Boolean).join("\n");
      this.#placeMedia();
    }
    const mode = node.mode === MUTED ? ", muted" : node.mode === BYPASSED ? ", bypassed" : "";
    const name = `${face.title}${face.kind === "ghost" ? ", not known to the server" : ""}${mode}${frozenIn(node) ? ", frozen" : ""}${STATE_WORDS[run.status] ? `, ${STATE_WORDS[run.status]}` : ""}${selected ? ", selected" : ""}`;
    if (this.element.getAttribute("aria-label") !== name) this.element.setAttribute("aria-label", name);
  }

  #placeMedia() {
    const row = this.item.shape.media;
    if (!row || this.item.shape.collapsed) {
      this.#media?.destroy();
      this.#media = null;
      return;
    }
    this.#media ??= new MediaView(this.stage, this.element, this.item.id);
    this.#media.element.style.top = `${this.item.shape.title + row.y}px`;
    this.#media.element.style.height = `${row.height}px`;
    this.#media.show(this.stage.run(this.item.id));
  }

  /** Show which sockets fit what is being linked; null: nothing is. @param {((socket: import("./scene.js").SocketHit) => boolean) | null} fits @param {boolean} dim */
  showLinking(fits, dim) {
    this.element.classList.toggle("dim", dim);
    const fitting = fits ? socketsOf(this.item).filter(fits) : [];
    for (const side of /** @type {const} */ (["inputs", "outputs"])) {
      const elements = this.body.querySelectorAll(`.socket.${side}`);
      this.item.face[side].forEach((slot, i) => elements[i]?.classList.toggle("no", fits !== null && !fitting.some((socket) => socket.widget === null && `${socket.side}s` === side && socket.slot === slot.index)));
    }
    for (const [name, { host, dot }] of this.#widgets) {
      host.classList.toggle("no", fits !== null && !fitting.some((socket) => socket.widget === name));
      dot?.classList.toggle("no", fits !== null && !fitting.some((socket) => socket.widget === name));
    }
  }

  /** Put the cursor into the first widget, or one by name. @param {string} [name] @returns {boolean} */
  enter(name) {
    const mounted = name === undefined ? [...this.#widgets.values()].find(({ host }) => host.querySelector("input, textarea, select, button")) : this.#widgets.get(name);
    const field = /** @type {HTMLElement | null | undefined} */ (mounted?.host.querySelector("input, textarea, select, button"));
    field?.focus({ preventScroll: true });
    return Boolean(field);
  }

  #clearWidgets() {
    for (const { widget } of this.#widgets.values()) widget.destroy();
    this.#widgets.clear();
  }

  destroy() {
    this.#clearWidgets();
    this.#media?.destroy();
    this.element.remove();
  }
}

/** @param {number} seconds */
function time(seconds) {
  return seconds < 0.01 ? "" : seconds < 10 ? `${seconds.toFixed(2)} s` : seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
