// One open workflow for the scripts of node packs: makes a PackNode of every node, keeps them in step with the document, and calls their hooks.

import { removeLinks } from "../core/commands/links.js";
import { readWidgets } from "../core/widgets.js";
import { PackGraph } from "./graph.js";

/** @typedef {import("../core/document.js").Change} Change */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */
/** @typedef {import("../session.js").Session} Session */

/** Steps that bring nodes with values of their own. */
const BROUGHT = /paste|duplicate|subgraph|unpack|swap|open|undo/i;

export class Host {
  /** @type {Map<string, PackGraph>} */
  #graphs = new Map();
  /** A node a script made and is adding now. @type {any} */
  adopting = null;
  /** How many changes of scripts we are in. */
  #script = 0;
  /** How many deeds of a person, whose changes are a step of their own, we are in. */
  #deeds = 0;

  /** @param {import("./app.js").PackApp} app @param {Session} session */
  constructor(app, session) {
    this.app = app;
    this.session = session;
    session.document.subscribe((change) => this.#follow(change));
  }

  /** @param {string} name @returns {PackGraph} */
  graph(name) {
    let graph = this.#graphs.get(name);
    if (!graph) {
      graph = new PackGraph(this, name);
      this.#graphs.set(name, graph);
    }
    return graph;
  }

  get graphs() {
    return ["root", ...this.session.document.definitions].map((name) => this.graph(name));
  }

  /** The stage that shows a graph, or null. @param {PackGraph} graph @returns {any} */
  stageOf(graph) {
    const stage = /** @type {any} */ (this.app.canvasHandle())?.stage;
    return stage?.session === this.session && stage.scene.graph === graph.name ? stage : null;
  }

  /** Whether what scripts change belongs to the step before it. */
  get amends() {
    return this.#deeds === 0;
  }

  /** @template T @param {() => T} run @returns {T} */
  asScript(run) {
    this.#script++;
    try {
      return run();
    } finally {
      this.#script--;
    }
  }

  /** Something a person did with a part of a script: what follows is one step. @param {string} label @param {() => unknown} run */
  deed(label, run) {
    this.#deeds++;
    try {
      return this.session.document.edit(label, () => this.app.guard(run));
    } finally {
      this.#deeds--;
    }
  }

  /** Make every node, as when a file is opened. */
  open() {
    const { app, session } = this;
    const data = () => session.document.graph("root").record;
    app.hook("beforeConfigureGraph", data(), []);
    /** @type {any[]} */
    const made = [];
    for (const graph of this.graphs) {
      for (const node of [...graph.view.nodes.values()]) made.push(this.#make(graph, node, true));
      graph.ready = true;
    }
    for (const node of made) app.hook("loadedGraphNode", node);
    app.hook("afterConfigureGraph", []);
  }

  /** @param {PackGraph} graph @param {Readonly<NodeRecord>} record @param {boolean} brought  with values from a file */
  #make(graph, record, brought) {
    const { app } = this;
    const Type = app.types.classOf(record.type) ?? app.types.define(record.type, undefined);
    const adopted = this.adopting?.type === record.type ? this.adopting : null;
    this.adopting = null;
    const node = adopted ?? app.guard(() => new Type()) ?? new (app.types.define(`${record.type} `, undefined))();
    const draft = node.record;
    graph.byId.set(record.id, node);
    node.moveIn(graph, record.id);
    if (!adopted) {
      if (Type.nodeData || this.session.definitions.get(record.type)?.layout.length) app.types.furnish(node);
      else if (draft.inputs?.length || draft.outputs?.length) this.#takeDraft(node, record, draft);
      if (Type.nodeData) app.guard(() => node.onNodeCreated?.());
    }
    graph.ready = graph.ready || brought;
    app.guard(() => node.onAdded?.(graph));
    app.guard(() => /** @type {any} */ (graph).onNodeAdded?.(node));
    app.hook("nodeCreated", node);
    if (brought) {
      node.readExtras();
      if (node.onConfigure) app.guard(() => node.onConfigure(node.serialize()));
    } else node.keepExtras();
    return node;
  }

  /** The sockets a script's class gives a new node. @param {any} node @param {Readonly<NodeRecord>} record @param {any} draft */
  #takeDraft(node, record, draft) {
    if (record.inputs?.length || record.outputs?.length) return;
    node.change("Add node", (/** @type {any} */ now) => ({ ...now, inputs: draft.inputs, outputs: draft.outputs, properties: { ...draft.properties, ...now.properties }, ...(draft.size && draft.size[0] !== 210 ? { size: draft.size } : {}) }));
  }

  /** @param {Change} change */
  #follow(change) {
    const own = this.#script > 0;
    for (const { graph: name, table, id, before, after } of change.patches) {
      const graph = this.graph(name);
      if (table === "nodes") this.#nodeChanged(graph, id, /** @type {any} */ (before), /** @type {any} */ (after), change, own);
    }
    for (const { graph: name, table, before, after } of change.patches) {
      if (table !== "links") continue;
      const graph = this.graph(name);
      if (before) this.#linked(graph, /** @type {LinkRecord} */ (before), false);
      if (after && !before && !own && change.origin === "edit" && this.#refused(graph, /** @type {LinkRecord} */ (after))) graph.within(() => removeLinks(this.session.document, name, [after.id]));
      else if (after) this.#linked(graph, /** @type {LinkRecord} */ (after), true);
    }
    this.app.api.dispatchCustomEvent("graphChanged");
  }

  /** @param {PackGraph} graph @param {any} id @param {any} before @param {any} after @param {Change} change @param {boolean} own */
  #nodeChanged(graph, id, before, after, change, own) {
    const { app } = this;
    let node = graph.byId.get(id);
    if (!after) {
      graph.byId.delete(id);
      if (!node) return;
      for (const widget of node.widgets) app.guard(() => widget.onRemove?.());
      app.guard(() => node.onRemoved?.());
      app.guard(() => /** @type {any} */ (graph).onNodeRemoved?.(node));
      return;
    }
    if (!node || (before && before.type !== after.type)) {
      graph.ready = true;
      node = this.#make(graph, after, BROUGHT.test(change.label) || change.origin !== "edit");
      this.stageOf(graph)?.remeasure(id);
      return;
    }
    if (own || !before) return;
    if (before.size !== after.size) app.guard(() => node.onResize?.(node.size));
    if (before.widgets_values !== after.widgets_values || before.widgets_values_named !== after.widgets_values_named) this.#valuesChanged(node, before, after);
  }

  /** A person, or undoing, changed values: the callbacks hear of it. @param {any} node @param {any} before @param {any} after */
  #valuesChanged(node, before, after) {
    const { app } = this;
    const { definition } = node;
    const was = definition ? readWidgets(before, definition) : new Map();
    const is = definition ? readWidgets(after, definition) : new Map();
    for (const widget of node.widgets) {
      if (!widget.entry || widget.foreign || widget.entry.role !== "value") continue;
      const [old, value] = [was.get(widget.name), is.get(widget.name)];
      if (old === value) continue;
      app.guard(() => {
        if (Object.getOwnPropertyDescriptor(widget, "value")) widget.value = value;
        if (widget.field instanceof HTMLTextAreaElement && widget.field.value !== value) widget.field.value = String(value ?? "");
        widget.callback?.(value, app.canvas, node, node.pos, {});
        node.onWidgetChanged?.(widget.name, value, old, widget);
      });
    }
    app.guard(() => node.readExtras());
  }

  /** Whether a script does not want a link somebody made. @param {PackGraph} graph @param {LinkRecord} link */
  #refused(graph, link) {
    const [from, to] = [graph.getNodeById(link.from), graph.getNodeById(link.to)];
    if (!from || !to) return false;
    const no = (/** @type {() => unknown} */ ask) => this.app.guard(ask) === false;
    return no(() => to.onConnectInput?.(link.toSlot, link.type, from.outputs[link.fromSlot], from, link.fromSlot)) || no(() => from.onConnectOutput?.(link.fromSlot, to.inputs[link.toSlot]?.type, to.inputs[link.toSlot], to, link.toSlot));
  }

  /** @param {PackGraph} graph @param {LinkRecord} link @param {boolean} connected */
  #linked(graph, link, connected) {
    const { app } = this;
    const info = { id: link.id, type: link.type, origin_id: link.from, origin_slot: link.fromSlot, target_id: link.to, target_slot: link.toSlot };
    const [from, to] = [graph.getNodeById(link.from), graph.getNodeById(link.to)];
    if (to) app.guard(() => to.onConnectionsChange?.(1, link.toSlot, connected, info, to.inputs[link.toSlot]));
    if (from) app.guard(() => from.onConnectionsChange?.(2, link.fromSlot, connected, info, from.outputs[link.fromSlot]));
  }

  /** Put the values of the scripts' widgets into the document, before it is written or run. */
  keep() {
    for (const graph of this.graphs) {
      for (const node of graph.byId.values()) {
        this.app.guard(() => node.keepExtras());
        if (node.onSerialize) this.app.guard(() => node.keepSerialized());
      }
    }
  }

  /** The choices of nodes were read again: widgets whose choices no script changed follow. */
  refreshed() {
    for (const graph of this.graphs) {
      for (const node of graph.byId.values()) {
        const inputs = new Map(node.definition?.inputs.map((/** @type {any} */ input) => [input.name, input]));
        for (const widget of node.widgets) {
          const { entry } = widget;
          const now = inputs.get(entry?.name)?.choices;
          if (!now || entry.role !== "value" || widget.foreign || JSON.stringify(widget.options.values) !== JSON.stringify(entry.input.choices)) continue;
          widget.options.values = [...now];
          widget.entry = { ...entry, input: inputs.get(entry.name) };
        }
      }
    }
  }

  /** The node behind an id of a run, such as "12:5". @param {string} id @returns {any} */
  byExecution(id) {
    const path = id.split(":");
    let graph = this.graph("root");
    for (const step of path.slice(0, -1)) {
      const type = graph.getNodeById(step)?.type;
      if (!type || !this.session.document.hasGraph(type)) return null;
      graph = this.graph(type);
    }
    return graph.getNodeById(path.at(-1));
  }

  /** @param {(node: any) => void} visit */
  each(visit) {
    for (const graph of this.graphs) for (const node of graph._nodes) visit(node);
  }
}

