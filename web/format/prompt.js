// The graph in API form: what the server runs. Subgraphs are flattened, nodes of the editor resolved away, values named.

import { ranked } from "../core/graphview.js";
import { BYPASSED, MUTED } from "../core/records.js";
import { inputsFor, readWidgets } from "../core/widgets.js";
import { expandText } from "./dynamic_text.js";
import { frozenIn, thawed } from "./frozen.js";
import { SAVING_NODES, fillIn } from "./filename_text.js";
import { EndlessGraph, LinkEnd, Scope, firstWidget, isInstance, isVirtual, promotedValue } from "./scope.js";
import { namesInFile } from "./unknown_node.js";

/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("../core/definitions.js").NodeDefinition} NodeDefinition */
/** @typedef {import("./read_graph.js").Problem} Problem */
/** @typedef {{class_type: string, inputs: Record<string, unknown>, _meta?: {title: string}}} PromptNode */
/** @typedef {Record<string, PromptNode>} Prompt */
/**
 * @typedef {object} PromptOptions
 * @property {() => number} [random]  chooses in {a|b}
 * @property {Date} [now]  for dates in file names
 */

/**
 * @param {Document} document
 * @param {Definitions} definitions
 * @param {PromptOptions} [options]
 * @returns {{prompt: Prompt, problems: Problem[]}} `problems`: what could not be said in API form
 */
export function toPrompt(document, definitions, { random = Math.random, now = new Date() } = {}) {
  /** @type {Problem[]} */
  const problems = [];
  /** @type {Map<string, PromptNode>} */
  const emitted = new Map();
  /** @type {Scope[]} */
  const scopes = [new Scope(document)];
  for (let scope = scopes.pop(); scope; scope = scopes.pop()) {
    for (const node of ranked(scope.graph.nodes)) {
      if (isVirtual(node)) continue;
      /** @param {string} message */
      const note = (message) => void problems.push({ message, graph: scope.graph.name, node: node.id });
      if (isInstance(document, node)) {
        const inner = attempt(() => scope.child(node), note);
        if (inner) scopes.push(inner);
      } else if (/^workflow[/>]/.test(node.type)) {
        note(`${node.type} is a group node of an old kind, which cannot run; replace it by its nodes.`);
      } else if (node.mode !== MUTED && node.mode !== BYPASSED) {
        const frozen = frozenIn(node);
        if (frozen) for (const [id, held] of thawed(frozen, scope.path + node.id)) emitted.set(id, held);
        else emitted.set(scope.path + node.id, emit(scope, node, { definitions, random, now }, note));
      }
    }
  }
  return { prompt: Object.fromEntries(inOrder(withoutMissing(emitted))), problems };
}

/** @typedef {{definitions: Definitions, random: () => number, now: Date}} Surroundings */

/**
 * @param {Scope} scope
 * @param {Readonly<NodeRecord>} node
 * @param {Surroundings} surroundings
 * @param {(message: string) => void} note
 * @returns {PromptNode}
 */
function emit(scope, node, { definitions, random, now }, note) {
  const definition = definitions.get(node.type);
  const values = definition ? readWidgets(node, definition) : namedValues(node, note);
  const byName = new Map(definition ? inputsFor(node, definition).map((input) => [input.name, input]) : []);
  (node.inputs ?? []).forEach((slot, i) => {
    const found = attempt(() => scope.source(node.id, i), note);
    const source = found && "widget" in found ? attempt(() => innerValue(found, definitions), note) : found;
    if (source instanceof LinkEnd) values.set(slot.name, source);
    else if (source && (slot.widget || !definition || byName.get(slot.name)?.widget)) {
      const { value, replaceIn } = source;
      const text = replaceIn && typeof value === "string" ? fillIn(value, now, lookUp(replaceIn, definitions)) : value;
      values.set(slot.widget?.name ?? slot.name, text);
    }
  });
  /** @type {Record<string, unknown>} */
  const inputs = {};
  for (const [name, value] of values) {
    if (typeof value !== "string") inputs[name] = Array.isArray(value) ? { __value__: value } : value;
    else if (byName.get(name)?.options.dynamicPrompts) inputs[name] = expandText(value, random);
    else if (name === "filename_prefix" && SAVING_NODES.has(node.type)) inputs[name] = fillIn(value, now, lookUp(scope, definitions));
    else inputs[name] = value;
  }
  const type = definition?.type ?? node.type;
  return { class_type: type, inputs, _meta: { title: node.title || definition?.title || type } };
}

/**
 * The value of a widget inside a subgraph; of an instance there, that of the widget it shows.
 * @param {import("./scope.js").InnerWidget} inner
 * @param {Definitions} definitions
 * @returns {import("./scope.js").Constant | null}
 */
function innerValue({ widget, node, scope }, definitions) {
  if (isInstance(scope.document, node)) {
    const child = scope.child(node);
    const slot = (child.graph.record.inputs ?? []).findIndex((each) => each.name === widget);
    const deeper = slot < 0 ? null : firstWidget(child, slot);
    return promotedValue(child, node, slot) ?? (deeper && innerValue(deeper, definitions));
  }
  const definition = definitions.get(node.type);
  const value = (definition ? readWidgets(node, definition) : namesInFile(node))?.get(widget);
  return value === undefined ? null : { value };
}

/**
 * The widgets of a graph by the name for search and replace of their node, or its title.
 * @param {Scope} scope
 * @param {Definitions} definitions
 * @returns {(name: string, widget: string) => unknown}
 */
function lookUp({ graph }, definitions) {
  return (name, widget) => {
    const nodes = ranked(graph.nodes);
    const node = nodes.find((each) => each.properties?.["Node name for S&R"] === name) ?? nodes.find((each) => (each.title ?? each.type) === name);
    const definition = node && definitions.get(node.type);
    return node && definition ? readWidgets(node, definition).get(widget) : undefined;
  };
}

/**
 * The values of a node the server does not know, where the file says their names.
 * @param {Readonly<NodeRecord>} node
 * @param {(message: string) => void} note
 * @returns {Map<string, unknown>}
 */
function namedValues(node, note) {
  const named = namesInFile(node);
  note(`The server has no node ${node.type}${named ? "" : ", and the file does not name its values: they are not sent"}.`);
  return named ?? new Map();
}

/**
 * Take out links to nodes that do not run, and write the others as the API does.
 * @param {Map<string, PromptNode>} nodes
 * @returns {Map<string, PromptNode>}
 */
function withoutMissing(nodes) {
  for (const node of nodes.values()) {
    for (const [name, value] of Object.entries(node.inputs)) {
      if (!(value instanceof LinkEnd)) continue;
      if (nodes.has(value.id)) node.inputs[name] = [value.id, value.slot];
      else delete node.inputs[name];
    }
  }
  return nodes;
}

/**
 * Nodes in the order they can run in: after everything that feeds them, otherwise as in the file.
 * @param {Map<string, PromptNode>} nodes
 * @returns {[string, PromptNode][]}
 */
function inOrder(nodes) {
  /** @type {Map<string, PromptNode>} */
  const ordered = new Map();
  const entered = new Set();
  for (const start of nodes.keys()) {
    const waiting = [start];
    for (let id = waiting.at(-1); id !== undefined; id = waiting.at(-1)) {
      const node = /** @type {PromptNode} */ (nodes.get(id));
      const before = Object.values(node.inputs).flatMap((value) => (Array.isArray(value) ? [String(value[0])] : []));
      const next = entered.has(id) ? undefined : before.filter((each) => !entered.has(each));
      entered.add(id);
      if (next?.length) waiting.push(...next.reverse());
      else {
        ordered.set(id, node);
        waiting.pop();
      }
    }
  }
  return [...ordered];
}

/**
 * @template T
 * @param {() => T} action
 * @param {(message: string) => void} note
 * @returns {T | null} null (and a note) when the graph has no end there
 */
function attempt(action, note) {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof EndlessGraph)) throw error;
    note(error.message);
    return null;
  }
}
