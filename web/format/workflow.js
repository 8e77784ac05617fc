// Editor files (version 0.4 and 1) into a document and back, without loss: what is not understood stays on the record it came with.

import { Document } from "../core/document.js";
import { ROOT } from "../core/records.js";
import { layoutFor, readWidgets } from "../core/widgets.js";
import { readGraph } from "./read_graph.js";
import { writeGraph } from "./write_graph.js";

/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("../core/records.js").Patch} Patch */
/** @typedef {import("../core/records.js").AnyRecord} AnyRecord */
/** @typedef {import("./read_graph.js").Problem} Problem */
/** @typedef {import("./read_graph.js").Json} Json */

/** A file that cannot be opened; the message is a sentence for a person. */
export class BadWorkflow extends Error {
  name = "BadWorkflow";
}

/**
 * What a parsed JSON file is: a graph of the editor, a graph in API form, or neither.
 * @param {unknown} json
 * @returns {"workflow" | "prompt" | null}
 */
export function kindOf(json) {
  if (!isObject(json)) return null;
  if (Array.isArray(json.nodes)) return "workflow";
  const nodes = Object.values(json);
  return nodes.length && nodes.every((node) => isObject(node) && typeof node.class_type === "string") ? "prompt" : null;
}

/**
 * Open an editor file. The parsed value is taken over and frozen.
 * @param {unknown} json
 * @param {{history?: number}} [options]
 * @returns {{document: Document, problems: Problem[]}} `problems`: what in the file made no sense and how it was taken
 * @throws {BadWorkflow} when it is no such file
 */
export function readWorkflow(json, options = {}) {
  if (kindOf(json) !== "workflow") throw new BadWorkflow(whatItIs(json));
  const file = /** @type {Json} */ (json);
  const document = new Document(options);
  /** @type {Problem[]} */
  const problems = [];
  /** @type {Patch[]} */
  const patches = [];
  const names = new Set();
  readGraph(file, ROOT, 0, false, patches, problems);
  definitionsOf(file).forEach((definition, i) => {
    if (typeof definition.id !== "string" || definition.id === ROOT || !Array.isArray(definition.nodes)) {
      problems.push({ message: `Subgraph definition number ${i + 1} has no id or no nodes and was left out.`, graph: ROOT });
    } else if (names.has(definition.id)) {
      problems.push({ message: `The subgraph ${definition.name ?? definition.id} is defined twice; the first one is used.`, graph: ROOT });
    } else {
      names.add(definition.id);
      readGraph(definition, definition.id, i + 1, true, patches, problems);
    }
  });
  try {
    document.apply(patches, "Open");
  } catch (error) {
    if (error instanceof RangeError) throw new BadWorkflow("This file is nested too deeply to be a graph.", { cause: error });
    throw error;
  }
  document.markSaved();
  return { document, problems };
}

/**
 * The file of a document: what the editor saves, and what goes along with a job.
 * @param {Document} document
 * @param {Definitions} [known]  values of these node types are written by name, too: a type that gains an input does not shift them
 * @returns {Record<string, unknown>} plain JSON
 */
export function writeWorkflow(document, known) {
  const file = writeGraph(document.root);
  const definitions = document.definitions.map((name) => writeGraph(document.graph(name)));
  const other = isObject(file.definitions) ? file.definitions : undefined;
  if (definitions.length || other) file.definitions = { ...other, subgraphs: definitions };
  if (known) for (const graph of [file, ...definitions]) nameValues(graph, known, document);
  return file;
}

/** @param {Json} graph @param {Definitions} known @param {Document} document */
function nameValues(graph, known, document) {
  if (!Array.isArray(graph.nodes)) return;
  graph.nodes = graph.nodes.map((node) => {
    const definition = isObject(node) && !document.hasGraph(String(node.type)) ? known.get(String(node.type)) : null;
    const held = definition && Array.isArray(node.widgets_values) ? node.widgets_values.length : 0;
    // more values than the type has: scripts of packs added some, and which is whose only they know
    if (!definition || !held || held > layoutFor(/** @type {any} */ (node), definition).length) return node;
    const values = readWidgets(/** @type {any} */ (node), definition);
    return { ...node, widgets_values_named: { ...(isObject(node.widgets_values_named) ? node.widgets_values_named : {}), ...Object.fromEntries(values) } };
  });
}

/**
 * Subgraph definitions of a file, those inside definitions included.
 * @param {Json} file
 * @returns {Json[]}
 */
function definitionsOf(file) {
  const own = isObject(file.definitions) && Array.isArray(file.definitions.subgraphs) ? file.definitions.subgraphs.filter(isObject) : [];
  return own.flatMap((definition) => [definition, ...definitionsOf(definition)]);
}

/** @param {unknown} json */
function whatItIs(json) {
  if (kindOf(json) === "prompt") return "This is a graph in API form, not an editor file; it can be imported instead of opened.";
  if (!isObject(json)) return "This file holds no graph: it is not a JSON object.";
  const keys = Object.keys(json).slice(0, 5).join(", ");
  return `This file holds no graph: it has no list of nodes${keys ? ` (it has: ${keys})` : ""}. It may belong to another program.`;
}

/** @param {unknown} value @returns {value is Json} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
