// The canvas and all that lies on it. One flag asks for a frame; a frame paints what is far and builds, a few at a time, what is near.

import { ROOT } from "../core/records.js";
import { sizeOf } from "../widgets/registry.js";
import { Camera } from "./camera.js";
import { readTheme } from "./colours.js";
import { make } from "./dom.js";
import { parts } from "./doors.js";
import { FarSheet } from "./far_sheet.js";
import { Ground } from "./ground.js";
import { whyNot } from "./linking.js";
import { FAR, paint } from "./paint.js";
import { Pictures } from "./pictures.js";
import { Scene } from "./scene.js";
import { leaveField } from "./typing.js";
import { NodeView, nodeOf } from "./view.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("./scene.js").Item} Item */

/** From this scale on nodes are elements of the page. */
const NEAR = 0.42;
/** Time a frame may spend building, and how many elements there may be at most. */
const BUILD_MS = 4;
const MOST_ELEMENTS = 2200;
const SETTLED_MS = 120;

/** Where each graph of a document was looked at from, as long as the document is open. @type {WeakMap<object, Map<string, [number, number, number]>>} */
const places = new WeakMap();

export class Stage {
  camera = new Camera();
  /** @type {Map<Id, NodeView>} */
  views = new Map();
  #weight = 0;
  /** What others add to nodes on screen. @type {Map<Id, import("./doors.js").Part[]>} */
  #parts = new Map();
  #frame = 0;
  #settle = 0;
  #moving = false;
  #zooming = false;
  #lastScale = 0;
  #listeners = /** @type {Map<string, Set<(detail: any) => void>>} */ (new Map());
  #stops = /** @type {(() => void)[]} */ ([]);
  #ground = new Ground();
  #far = new FarSheet();
  /** Painting waits until this runs out: several changes, one frame. */
  #stale = false;
  /** @type {Set<Id>} links not painted, since they are in a person's hand */
  hiddenWires = new Set();
  /** @type {Id | null} */
  hotWire = null;
  /** @type {((item: Item) => boolean) | null} */
  dims = null;
  /** @type {Id | null} the node with the focus stays an element wherever it is */
  focused = null;
  /** @type {ReadonlySet<Id>} nodes being dragged stay elements, too */
  held = new Set();
  /** @type {import("./scene.js").SocketHit | null} the socket a link is being dragged from */
  #linking = null;
  /** @type {{x: number, y: number} | null} where the mouse is, on the page */
  pointer = null;

  /** @param {HTMLElement} host @param {Session} session */
  constructor(host, session) {
    this.host = host;
    this.session = session;
    this.root = make("div", "graph", null, { role: "application", "aria-label": "Graph", "aria-roledescription": "graph editor", tabindex: "0" });
    this.canvas = make("canvas", "", null, { "aria-hidden": "true" });
    this.layer = make("div", "layer");
    this.overlay = make("div", "overlay");
    this.words = make("div", "unseen", null, { role: "status", "aria-live": "polite" });
    this.root.append(this.canvas, this.layer, this.overlay, this.words);
    host.append(this.root);
    this.ctx = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
    this.theme = readTheme(this.root);
    this.pictures = new Pictures(() => this.invalidate());
    this.scene = this.#sceneOf(session.graph);
    this.#follow();
    this.#resize();
    this.#look();
  }

  get #places() {
    const kept = places.get(this.session.document) ?? new Map();
    places.set(this.session.document, kept);
    return kept;
  }

  /** Remember where this graph is looked at from. */
  #remember() {
    this.#places.set(this.session.within.join(":"), [this.camera.x, this.camera.y, this.camera.scale]);
  }

  /** Look at the graph from where it was looked at last, else at all of it. */
  #look() {
    const kept = this.#places.get(this.session.within.join(":"));
    if (kept) [this.camera.x, this.camera.y, this.camera.scale] = kept;
    else this.fit();
    this.#lastScale = this.camera.scale;
    this.invalidate();
  }

  /** @param {string} graph */
  #sceneOf(graph) {
    return new Scene(this.session.document, graph, () => this.session.definitions, sizeOf, (id) => this.showsMedia(id));
  }

  #follow() {
    const { document: graph, selection, runs, settings } = this.session;
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(this.root);
    const themes = new MutationObserver(() => this.restyle());
    themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class", "style"] });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const restyle = () => this.restyle();
    dark.addEventListener("change", restyle);
    this.#stops.push(
      () => observer.disconnect(), () => themes.disconnect(), () => dark.removeEventListener("change", restyle),
      graph.subscribe((change) => this.#onChange(change)),
      selection.subscribe(() => this.#refreshAll()),
      runs.subscribe((ids) => this.#onRuns(ids)),
      ...["canvas.links", "canvas.grid"].map((key) => settings.subscribe(key, () => this.invalidate())),
    );
  }

  /** @param {import("../core/document.js").Change} change */
  #onChange(change) {
    if (!this.session.document.hasGraph(this.scene.graph)) {
      this.enter([]);
      return;
    }
    for (const id of this.scene.follow(change)) this.#refresh(id);
    this.invalidate();
    this.emit("changed", change);
  }

  /** @param {Id} id */
  #refresh(id) {
    const view = this.views.get(id);
    if (!view) return;
    const item = this.scene.items.get(id);
    if (!item) return this.#unmount(id);
    const before = view.weight;
    view.item = item;
    view.update();
    for (const part of this.#parts.get(id) ?? []) part.update?.();
    this.#weight += view.weight - before;
  }

  /** Look at a node anew though its record is the same: what it shows beside it has changed. @param {Id} id */
  remeasure(id) {
    if (!this.scene.items.has(id)) return;
    this.scene.refresh(id);
    this.#refresh(id);
    this.invalidate();
  }

  #refreshAll() {
    for (const view of this.views.values()) view.update();
    this.invalidate();
  }

  /** @param {ReadonlySet<string>} ids */
  #onRuns(ids) {
    const prefix = this.prefix;
    for (const full of ids) {
      if (!full.startsWith(prefix)) continue;
      const name = full.slice(prefix.length);
      if (name.includes(":")) continue;
      const item = this.scene.items.get(Number(name)) ?? this.scene.items.get(name);
      if (!item) continue;
      if ((item.shape.media !== null) !== (this.showsMedia(item.id) && !item.shape.collapsed && item.face.kind !== "reroute")) this.scene.refresh(item.id);
      this.#refresh(item.id);
    }
    this.invalidate();
  }

  /** What ids of this graph start with in a run. */
  get prefix() {
    return this.session.within.map((id) => `${id}:`).join("");
  }

  /** @param {Id} id */
  run(id) {
    return this.session.runs.of(this.prefix + id);
  }

  /** @param {Id} id */
  showsMedia(id) {
    const { preview, outputs } = this.run(id);
    return preview !== null || outputs.length > 0;
  }

  // ---- looking around

  /** Go into an instance, or back out: the ids of the instances that lead there. @param {readonly Id[]} within */
  enter(within) {
    const { session } = this;
    this.#remember();
    let graph = ROOT;
    /** @type {Id[]} */
    const path = [];
    for (const id of within) {
      const node = session.document.graph(graph).nodes.get(id);
      if (!node || !session.document.hasGraph(node.type)) break;
      graph = node.type;
      path.push(id);
    }
    Object.assign(session, { graph, within: path });
    this.scene = this.#sceneOf(graph);
    this.#unmountAll();
    session.selection.set([], [], graph);
    this.#look();
    this.emit("entered", { graph, within: path });
  }

  /** Show some nodes, or everything. @param {Iterable<Id>} [ids] @param {{closest?: number}} [options] */
  fit(ids, options) {
    const box = this.scene.extent(ids);
    if (box) this.camera.fit(box, options);
    this.moved();
  }

  /** Bring a node into view, and near enough to read. @param {Id} id */
  centre(id) {
    const box = this.scene.extent([id]);
    if (!box) return;
    if (this.camera.scale < 0.6) this.camera.scale = 1;
    this.camera.centre(box);
    this.moved();
  }

  /** Move the camera as little as it takes to see a node. @param {Id} id */
  reveal(id) {
    const item = this.scene.item(id);
    if (!item) return;
    const [x, y, w, h] = this.camera.visible(-20 / this.camera.scale);
    const [left, top, right, bottom] = item.bounds;
    if (left >= x && top >= y && right <= x + w && bottom <= y + h) return;
    if (right - left > w || bottom - top > h || left > x + 2 * w || right < x - w || top > y + 2 * h || bottom < y - h) return this.centre(id);
    this.camera.x += left < x ? left - x : right > x + w ? right - x - w : 0;
    this.camera.y += top < y ? top - y : bottom > y + h ? bottom - y - h : 0;
    this.moved();
  }

  /** The camera is somewhere else. */
  moved() {
    const panned = this.camera.scale === this.#lastScale;
    if (!panned) this.#zooming = true;
    this.#lastScale = this.camera.scale;
    this.#moving = true;
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => {
      if (this.#zooming) this.#sharpen();
      this.#moving = this.#zooming = false;
      this.invalidate();
    }, SETTLED_MS);
    if (panned) this.#ask();
    else this.invalidate();
    this.emit("camera", this.camera);
  }

  /** The elements are kept as one drawn sheet, which makes moving cheap. After zooming the sheet is drawn anew at its size. */
  #sharpen() {
    this.layer.classList.add("sharpening");
    requestAnimationFrame(() => requestAnimationFrame(() => this.layer.classList.remove("sharpening")));
  }

  /** Client coordinates to graph units. @param {number} clientX @param {number} clientY */
  toGraph(clientX, clientY) {
    const box = this.rect();
    return this.camera.toGraph(clientX - box.left, clientY - box.top);
  }

  /** Where the canvas is on the page. */
  rect() {
    return this.root.getBoundingClientRect();
  }

  #resize() {
    const { width, height } = this.rect();
    if (!width || !height) return;
    const first = this.camera.width === 1;
    this.camera.width = width;
    this.camera.height = height;
    this.ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    if (first) this.#look();
    this.invalidate();
    this.draw(); // at once: an emptied canvas would flash
  }

  ratio = 1;

  restyle() {
    this.theme = readTheme(this.root);
    for (const view of this.views.values()) {
      const item = this.scene.items.get(view.item.id);
      if (item) item.shape = { ...item.shape }; // colours of sockets are part of the elements
      view.update();
    }
    this.invalidate();
  }

  // ---- frames

  /** Something looks different. */
  invalidate() {
    this.#far.drop();
    this.#ask();
  }

  #ask() {
    this.#stale = true;
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#onFrame());
  }

  #onFrame() {
    this.#frame = 0;
    this.#stale = false;
    const more = this.#build();
    this.draw();
    if (more || this.#stale) this.#ask();
  }

  draw() {
    const { camera } = this;
    const whole = (/** @type {number} */ pixels) => Math.round(pixels * this.ratio) / this.ratio; // between pixels letters would blur
    this.layer.style.transform = `translate(${whole(-camera.x * camera.scale)}px, ${whole(-camera.y * camera.scale)}px) scale(${camera.scale})`;
    const show = (/** @type {CanvasRenderingContext2D} */ ctx, /** @type {Camera} */ from) => paint(ctx, this.ratio, from, this.scene, this.look());
    if (camera.scale < FAR && this.#moving && !this.#zooming) this.#far.draw(this.ctx, this.ratio, camera, show);
    else show(this.ctx, camera);
    this.emit("drawn", camera);
  }

  /** How things look now. @returns {import("./paint.js").Look} */
  look() {
    const { selection, settings } = this.session;
    return {
      theme: this.theme,
      selected: selection.selected.nodes,
      selectedGroups: selection.selected.groups,
      mounted: this.layer.hidden ? () => false : (id) => this.views.has(id),
      moving: this.#zooming,
      run: (id) => this.run(id),
      picture: (id) => this.pictures.of(this.run(id)),
      hotWire: this.hotWire,
      hiddenWires: this.hiddenWires,
      dims: this.dims,
      links: settings.get("canvas.links") ?? "curved",
      grid: settings.get("canvas.grid") ?? true,
      ground: this.#ground,
    };
  }

  /**
   * Build elements for nodes that came near, take away those that are gone. While the camera moves nothing is built: what comes near may
   * be gone again in a moment, and the painter shows it as well.
   * @returns {boolean} whether some are still to be built or taken away
   */
  #build() {
    const { camera } = this;
    const near = camera.scale >= NEAR;
    this.layer.hidden = !near && this.focused === null && !this.held.size;
    if (this.#moving && near) return false;
    const until = performance.now() + BUILD_MS;
    const [x, y, w, h] = camera.visible(near ? 60 : 0);
    const wanted = near ? this.scene.nodesIn([x, y, x + w, y + h]) : [];
    const keep = new Set(wanted.map(({ id }) => id));
    for (const id of [...this.views.keys()]) {
      if (keep.has(id) || this.#stays(id)) continue;
      this.#unmount(id);
      if (performance.now() > until) return true; // after one at least: on a slow machine it would never come to any
    }
    if (this.focused !== null && !this.views.has(this.focused)) {
      const item = this.scene.items.get(this.focused);
      if (item) this.#mount(item);
    }
    const missing = wanted.filter(({ id }) => !this.views.has(id));
    if (!missing.length) return false;
    const [cx, cy] = [x + w / 2, y + h / 2];
    /** @param {Item} item */
    const distance = ({ bounds }) => Math.hypot((bounds[0] + bounds[2]) / 2 - cx, (bounds[1] + bounds[3]) / 2 - cy);
    missing.sort((a, b) => distance(a) - distance(b));
    for (const item of missing) {
      if (this.#weight > MOST_ELEMENTS) return false;
      this.#mount(item);
      if (performance.now() > until) return true;
    }
    return false;
  }

  /** @param {Id} id */
  #stays(id) {
    return id === this.focused || this.held.has(id) || this.views.get(id)?.element.contains(document.activeElement) === true;
  }

  /** @param {Item} item */
  #mount(item) {
    const view = new NodeView(this, item);
    this.views.set(item.id, view);
    this.#weight += view.weight;
    this.layer.append(view.element);
    const added = [...parts].flatMap((open) => open(view, this) ?? []);
    if (added.length) this.#parts.set(item.id, added);
    if (this.#linking) this.#markLinking(view);
  }

  /** @param {Id} id */
  #unmount(id) {
    const view = this.views.get(id);
    if (!view) return;
    this.#weight -= view.weight;
    this.views.delete(id);
    for (const part of this.#parts.get(id) ?? []) part.destroy();
    this.#parts.delete(id);
    const hadFocus = view.element.contains(document.activeElement);
    view.destroy();
    if (this.focused === id) this.focused = null;
    if (hadFocus) this.root.focus({ preventScroll: true });
  }

  #unmountAll() {
    for (const id of [...this.views.keys()]) this.#unmount(id);
  }

  /** Another set of definitions: every node may look different. Who is at one of them stays there. */
  definitionsChanged() {
    const at = document.activeElement && this.layer.contains(document.activeElement) ? nodeOf(document.activeElement) : null;
    const back = leaveField(this.layer);
    this.scene.rebuild();
    this.#unmountAll();
    this.invalidate();
    const view = at === null ? null : this.viewOf(at);
    if (!view) return;
    this.focused = at; // what has the focus already is not brought into view
    if (back) back(view.element);
    else view.element.focus({ preventScroll: true });
  }

  /** The elements of a node, built now if they are not there. @param {Id} id @returns {NodeView | null} */
  viewOf(id) {
    const item = this.scene.items.get(id);
    if (!item) return null;
    if (!this.views.has(id)) this.#mount(item);
    return this.views.get(id) ?? null;
  }

  /** Mark the sockets that fit one; null: none is being linked. @param {import("./scene.js").SocketHit | null} held */
  showLinking(held) {
    this.#linking = held;
    for (const view of this.views.values()) this.#markLinking(view);
  }

  /** @param {NodeView} view */
  #markLinking(view) {
    const held = this.#linking;
    if (!held) return view.showLinking(null, false);
    const own = view.item.id === held.node;
    view.showLinking(own ? (socket) => socket.side === held.side && socket.slot === held.slot && socket.widget === held.widget : (socket) => whyNot(this, held, socket) === null, this.dims?.(view.item) === true);
  }

  // ---- changing values

  /**
   * @param {Id} id
   * @param {string} name  of the widget
   * @param {unknown} value
   * @param {boolean} merge
   */
  setWidget(id, name, value, merge) {
    const { document: graph, selection } = this.session;
    const item = this.scene.items.get(id);
    const widget = item?.face.widgets.find((each) => each.name === name);
    if (!item || !widget) return;
    const together = selection.selected.nodes.has(id) && selection.selected.nodes.size > 1 ? [...selection.selected.nodes] : [id];
    graph.edit(`Change ${widget.label}`, (tx) => {
      for (const each of together) {
        const other = this.scene.items.get(each);
        if (!other || (each !== id && other.node.type !== item.node.type)) continue;
        const its = other.face.widgets.find((candidate) => candidate.name === name);
        if (its) tx.put(this.scene.graph, "nodes", its.write(graph.graph(this.scene.graph).node(each), value));
      }
    }, { merge: merge ? `widget ${this.scene.graph} ${typeof id} ${id} ${name}` : null });
  }

  /** @param {Id} id @param {string} name @param {string} value */
  setControl(id, name, value) {
    const { document: graph } = this.session;
    const write = this.scene.items.get(id)?.face.widgets.find((each) => each.name === name)?.writeControl;
    if (write) graph.edit(`Change what happens to ${name} after a run`, (tx) => tx.put(this.scene.graph, "nodes", write(graph.graph(this.scene.graph).node(id), value)));
  }

  /** Show or hide what a node needs rarely. @param {Id} id @param {boolean} open */
  unfold(id, open) {
    this.session.document.edit(open ? "More settings" : "Fewer settings", (tx) => {
      const { showAdvanced: _old, ...node } = this.scene.view.node(id);
      tx.put(this.scene.graph, "nodes", open ? { ...node, showAdvanced: true } : node);
    });
    this.views.get(id)?.element.querySelector(/** @type {"button"} */ ("button.more-widgets"))?.focus({ preventScroll: true });
  }

  // ---- being heard

  /** Tell those who do not see. @param {string} words */
  say(words) {
    this.words.textContent = words;
  }

  /** @param {string} name @param {(detail: any) => void} listener @returns {() => void} stops it */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** @param {string} name @param {unknown} detail */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(detail);
  }

  destroy() {
    this.#remember();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#settle);
    for (const stop of this.#stops) stop();
    this.#unmountAll();
    this.pictures.clear();
    this.root.remove();
  }
}
