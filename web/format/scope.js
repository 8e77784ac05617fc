// Subgraphs taken apart: a graph together with the instance it is used through, so that links can be followed across borders.

import { ROOT, INPUT_BOUNDARY, OUTPUT_BOUNDARY, BYPASSED } from "../core/records.js";
import { bypass } from "../core/passing.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").SlotType} SlotType */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {{value: unknown, replaceIn?: Scope}} Constant  `replaceIn`: patterns in the text name nodes of this scope */
/** @typedef {{widget: string, node: Readonly<NodeRecord>, scope: Scope}} InnerWidget  a widget whose value stands for others */

const VIRTUAL = new Set(["PrimitiveNode", "Reroute", "Note", "MarkdownNote"]);

/** The output that feeds an input, by its id in the flattened graph. */
export class LinkEnd {
  /**
   * @param {string} id
   * @param {number} slot
   */
  constructor(id, slot) {
    this.id = id;
    this.slot = slot;
  }
}

/** A graph that goes round in a circle where it may not; the message is a sentence. */
export class EndlessGraph extends Error {
  name = "EndlessGraph";
}

/** Whether a node exists for the editor only. @param {Readonly<NodeRecord>} node */
export function isVirtual(node) {
  return VIRTUAL.has(node.type);
}

/**
 * Whether a node stands for a subgraph.
 * @param {Document} document
 * @param {Readonly<NodeRecord>} node
 */
export function isInstance(document, node) {
  return node.type !== ROOT && document.hasGraph(node.type);
}

export class Scope {
  /** @type {Map<Id, Scope>} */
  #children = new Map();
  /** What the ids of its nodes start with in the flattened graph: `5:` in the subgraph behind node 5. */
  path = "";

  /**
   * @param {Document} document
   * @param {string} [name]  of the graph
   * @param {Scope | null} [parent]
   * @param {Readonly<NodeRecord> | null} [instance]  the node of the parent that stands for this graph
   */
  constructor(document, name = ROOT, parent = null, instance = null) {
    this.document = document;
    this.graph = document.graph(name);
    this.parent = parent;
    this.instance = instance;
    if (parent && instance) this.path = `${parent.path}${instance.id}:`;
  }

  /**
   * The graph behind an instance.
   * @param {Readonly<NodeRecord>} node
   * @throws {EndlessGraph} when a subgraph contains itself
   */
  child(node) {
    let child = this.#children.get(node.id);
    if (!child) {
      for (let scope = /** @type {Scope | null} */ (this); scope; scope = scope.parent) {
        if (scope.graph.name === node.type) {
          throw new EndlessGraph(`The subgraph ${scope.graph.record.name ?? node.type} contains itself, so it has no end.`);
        }
      }
      child = new Scope(this.document, node.type, this, node);
      this.#children.set(node.id, child);
    }
    return child;
  }

  /**
   * What an input is fed by, followed through reroutes, bypassed nodes and the borders of subgraphs.
   * @param {Id} id  of the node
   * @param {number} index  of the input
   * @returns {LinkEnd | Constant | InnerWidget | null} null when nothing arrives
   * @throws {EndlessGraph} when the links lead in a circle
   */
  source(id, index) {
    const target = this.graph.node(id).inputs?.[index]?.type ?? "*";
    /** @type {Scope} */
    let scope = this;
    const seen = new Set();
    /** @type {Constant | null} what the instances passed so far hold; the outermost one that holds something decides */
    let held = null;
    for (;;) {
      const place = `${scope.path}${id}/${index}`;
      if (seen.has(place)) throw new EndlessGraph(`The links at node ${scope.path}${id} lead in a circle.`);
      seen.add(place);
      const link = scope.graph.linked.input(id, index);
      if (!link) return null;
      if (link.from === INPUT_BOUNDARY) {
        const { parent, instance } = scope;
        if (!parent || !instance) return null;
        const outer = parent.graph.inputIndex(instance.id, scope.graph.record.inputs?.[link.fromSlot]?.name ?? "");
        held = promotedValue(scope, instance, link.fromSlot) ?? held;
        if (outer < 0 || !parent.graph.linked.input(instance.id, outer)) return held ?? firstWidget(scope, link.fromSlot);
        [scope, id, index] = [parent, instance.id, outer];
        continue;
      }
      const origin = scope.graph.nodes.get(link.from);
      if (!origin) return null;
      if (origin.mode === BYPASSED) {
        index = bypass(origin, link.fromSlot, target);
        if (index < 0) return null;
        id = origin.id;
      } else if (isInstance(scope.document, origin)) {
        scope = scope.child(origin);
        [id, index] = [OUTPUT_BOUNDARY, link.fromSlot];
      } else if (origin.type === "PrimitiveNode") {
        const value = Array.isArray(origin.widgets_values) ? origin.widgets_values[0] : undefined;
        const replace = origin.properties?.["Run widget replace on values"] === true;
        return value === undefined ? null : { value, ...(replace ? { replaceIn: scope } : {}) };
      } else if (isVirtual(origin)) [id, index] = [origin.id, link.fromSlot];
      else return new LinkEnd(scope.path + origin.id, link.fromSlot);
    }
  }
}

/**
 * Which inputs of a subgraph are widgets on its instances: those that feed an inner widget.
 * @param {import("../core/graphview.js").GraphView} graph  of the definition
 * @returns {number[]} their positions, in the order of the values of an instance
 */
export function promotedInputs(graph) {
  return (graph.record.inputs ?? []).flatMap((_, slot) => {
    const links = graph.linked.output(INPUT_BOUNDARY, slot);
    return links.some((link) => graph.nodes.get(link.to)?.inputs?.[link.toSlot]?.widget) ? [slot] : [];
  });
}

/**
 * The value an instance holds for an input of its subgraph; null when it leaves the inner value alone.
 * @param {Scope} scope  of the subgraph
 * @param {Readonly<NodeRecord>} instance
 * @param {number} slot
 * @returns {Constant | null}
 */
export function promotedValue({ graph }, instance, slot) {
  const name = graph.record.inputs?.[slot]?.name ?? "";
  const at = promotedInputs(graph).indexOf(slot);
  const values = instance.widgets_values;
  const named = instance.widgets_values_named ?? (Array.isArray(values) ? {} : /** @type {Record<string, unknown>} */ (values ?? {}));
  const value = Object.hasOwn(named, name) ? named[name] : Array.isArray(values) && at >= 0 ? values[at] : undefined;
  return value === undefined || value === null ? null : { value };
}

/**
 * The widget inside a subgraph that an input of it shows: the first one it feeds. Where no instance holds a value, its value goes to all.
 * @param {Scope} scope
 * @param {number} slot
 * @returns {InnerWidget | null}
 */
export function firstWidget(scope, slot) {
  for (const link of scope.graph.linked.output(INPUT_BOUNDARY, slot)) {
    const node = scope.graph.nodes.get(link.to);
    const widget = node?.inputs?.[link.toSlot]?.widget;
    if (node && widget) return { widget: widget.name, node, scope };
  }
  return null;
}
