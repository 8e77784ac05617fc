// A graph in API form as a document that can be edited: nodes, values, links, and places found for them.

import { Document } from "../core/document.js";
import { newNode } from "../core/new_node.js";
import { ROOT } from "../core/records.js";
import { inputNamed, withWidget } from "../core/widgets.js";
import { inColumns } from "./arrange.js";
import { BadWorkflow, kindOf } from "./workflow.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").LinkRecord} LinkRecord */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("../core/definitions.js").NodeDefinition} NodeDefinition */
/** @typedef {import("./prompt.js").PromptNode} PromptNode */
/** @typedef {import("./read_graph.js").Problem} Problem */
/** @typedef {{node: NodeRecord, source: PromptNode, definition: NodeDefinition | null}} Imported */

/**
 * @param {unknown} json  `{id: {class_type, inputs}}`
 * @param {Definitions} definitions
 * @returns {{document: Document, problems: Problem[]}}
 * @throws {BadWorkflow} when it is no graph in API form
 */
export function fromPrompt(json, definitions) {
  if (kindOf(json) !== "prompt") throw new BadWorkflow("This is no graph in API form: not every entry has a class_type.");
  /** @type {Problem[]} */
  const problems = [];
  /** @type {Map<string, Imported>} */
  const imported = new Map();
  for (const [key, source] of Object.entries(/** @type {Record<string, PromptNode>} */ (json))) {
    const definition = definitions.get(source.class_type);
    const node = { ...newNode(nodeId(key), imported.size + 1, source.class_type, definition), id: nodeId(key) };
    imported.set(key, { node: titled(node, source, definition), source, definition });
  }
  /** @type {LinkRecord[]} */
  const links = [];
  for (const each of imported.values()) fillInputs(each, imported, links, problems);
  const places = inColumns([...imported.values()].map(({ node }) => node), links);
  const document = new Document();
  const numbers = [...imported.values()].map(({ node }) => node.id).filter((id) => typeof id === "number");
  document.apply(
    [
      { ...document.root.record, last_node_id: numbers.reduce((most, id) => Math.max(most, id), 0), last_link_id: links.length },
      ...[...imported.values()].map(({ node }) => ({ ...node, pos: places.get(node.id) ?? node.pos })),
      ...links,
    ].map((after) => ({ graph: ROOT, table: tableOf(after), id: after.id, before: undefined, after })),
    "Import",
  );
  return { document, problems };
}

/**
 * Values and links of one node.
 * @param {Imported} each  its node is replaced
 * @param {Map<string, Imported>} imported
 * @param {LinkRecord[]} links  added to
 * @param {Problem[]} problems  added to
 */
function fillInputs(each, imported, links, problems) {
  const { source, definition } = each;
  /** @param {string} message */
  const note = (message) => void problems.push({ message, graph: ROOT, node: each.node.id });
  if (!definition) note(`The server has no node ${source.class_type}; it is kept with its values and links.`);
  const depth = (/** @type {[string, unknown]} */ [name]) => (definition?.inputs.some((input) => input.name === name) ? 0 : 1); // choices before what they bring
  for (const [name, value] of Object.entries(source.inputs ?? {}).sort((a, b) => depth(a) - depth(b))) {
    const declared = definition ? inputNamed(each.node, definition, name) : undefined;
    if (isLink(value)) {
      const origin = imported.get(value[0]);
      if (!origin) {
        note(`The input ${name} is linked to node ${value[0]}, which is not there.`);
        continue;
      }
      each.node = withSocket(each.node, name, declared?.grows?.type ?? declared?.type ?? "*", declared?.widget === true);
      origin.node = withOutput(origin.node, value[1]);
      const toSlot = (each.node.inputs ?? []).findIndex((slot) => slot.name === name);
      const type = origin.node.outputs?.[value[1]]?.type ?? "*";
      const id = links.length + 1;
      links.push({ id, rank$: id, from: origin.node.id, fromSlot: value[1], to: each.node.id, toSlot, type });
    } else if (declared?.widget) each.node = withWidget(each.node, /** @type {NodeDefinition} */ (definition), name, unwrapped(value));
    else if (!definition) each.node = { ...each.node, widgets_values: { ...each.node.widgets_values, [name]: unwrapped(value) } };
    else note(`${definition.title} has no value named ${name}; ${JSON.stringify(value)?.slice(0, 80)} was left out.`);
  }
}

/** @param {NodeRecord} node @param {PromptNode} source @param {NodeDefinition | null} definition @returns {NodeRecord} */
function titled(node, source, definition) {
  const title = source._meta?.title;
  return typeof title === "string" && title !== "" && title !== (definition?.title ?? source.class_type) ? { ...node, title } : node;
}

/**
 * A node that surely has an input socket of this name.
 * @param {NodeRecord} node
 * @param {string} name
 * @param {import("../core/records.js").SlotType} type
 * @param {boolean} isWidget
 * @returns {NodeRecord}
 */
function withSocket(node, name, type, isWidget) {
  const inputs = node.inputs ?? [];
  if (inputs.some((slot) => slot.name === name)) return node;
  return { ...node, inputs: [...inputs, isWidget ? { name, type, widget: { name } } : { name, type }] };
}

/** A node of unknown type that has at least the output a link needs. @param {NodeRecord} node @param {number} slot @returns {NodeRecord} */
function withOutput(node, slot) {
  const outputs = [...(node.outputs ?? [])];
  while (outputs.length <= slot) outputs.push({ name: `output ${outputs.length}`, type: "*" });
  return outputs.length === node.outputs?.length ? node : { ...node, outputs };
}

/** @param {unknown} value @returns {value is [string, number]} */
function isLink(value) {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && Number.isInteger(value[1]) && value[1] >= 0 && value[1] < 1000;
}

/** @param {unknown} value */
function unwrapped(value) {
  const wrapped = typeof value === "object" && value !== null && !Array.isArray(value) && "__value__" in value;
  return wrapped ? /** @type {{__value__: unknown}} */ (value).__value__ : value;
}

/** Ids are numbers where they are written like numbers. @param {string} key @returns {Id} */
function nodeId(key) {
  return /^(0|[1-9]\d{0,14})$/.test(key) ? Number(key) : key;
}

/** @param {object} record @returns {"graph" | "nodes" | "links"} */
function tableOf(record) {
  return "from" in record ? "links" : "pos" in record ? "nodes" : "graph";
}
