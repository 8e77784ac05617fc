// Which inputs and outputs of a workflow the form shows. They are kept in the file where other editors keep theirs (extra.linearData).

import { ROOT } from "../core/records.js";
import { ranked } from "../core/graphview.js";
import { readWidgets } from "../core/widgets.js";

/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {{id: Id, title: string, name: string, input: import("../core/definitions.js").InputDefinition, definition: import("../core/definitions.js").NodeDefinition, value: unknown}} Field */
/** @typedef {{inputs: readonly [Id, string][], outputs: readonly Id[]}} Chosen */

const USUAL = ["text", "prompt", "image", "ckpt_name", "unet_name", "lora_name", "width", "height", "seed", "noise_seed", "steps", "cfg", "denoise"];

/** What the file names, or null. @param {Document} document @returns {Chosen | null} */
export function chosen(document) {
  const data = /** @type {any} */ (document.root.record.extra)?.linearData;
  if (!data || !Array.isArray(data.inputs)) return null;
  const inputs = data.inputs.filter((/** @type {unknown} */ each) => Array.isArray(each) && each.length >= 2);
  return { inputs, outputs: Array.isArray(data.outputs) ? data.outputs : [] };
}

/** Every value of the root graph that a person could set: not those a link gives. @param {Document} document @param {Definitions} definitions @returns {Field[]} */
export function allFields(document, definitions) {
  const { root } = document;
  return ranked(root.nodes).flatMap((node) => {
    const definition = definitions.get(node.type);
    if (!definition || node.mode === 2 || node.mode === 4) return [];
    const values = readWidgets(node, definition);
    return definition.inputs
      .filter((input) => input.widget && !(root.inputIndex(node.id, input.name) >= 0 && root.linked.input(node.id, root.inputIndex(node.id, input.name))))
      .map((input) => ({ id: node.id, title: node.title ?? definition.title, name: input.name, input, definition, value: values.get(input.name) }));
  });
}

/** Those the form shows: as chosen, else what people usually set. @param {Document} document @param {Definitions} definitions @returns {Field[]} */
export function fields(document, definitions) {
  const all = allFields(document, definitions);
  const names = chosen(document);
  if (names?.inputs.length) return names.inputs.flatMap(([id, name]) => all.find((field) => String(field.id) === String(id) && field.name === name) ?? []);
  return USUAL.flatMap((name) => all.filter((field) => field.name === name));
}

/** Nodes whose results the form can show. @param {Document} document @param {Definitions} definitions @returns {{id: Id, title: string}[]} */
export function allOutputs(document, definitions) {
  return ranked(document.root.nodes).flatMap((node) => {
    const definition = definitions.get(node.type);
    return definition?.isOutput && node.mode !== 2 && node.mode !== 4 ? [{ id: node.id, title: node.title ?? definition.title }] : [];
  });
}

/** Whether the form shows what a node brings: those that were chosen, else all. @param {Document} document @param {string} id  as in a run: "5" */
export function showsOutput(document, id) {
  const outputs = chosen(document)?.outputs ?? [];
  return !outputs.length || outputs.some((each) => String(each) === id);
}

/** Show the results of a node or leave them out. @param {Document} document @param {Definitions} definitions @param {Id} id */
export function toggleOutput(document, definitions, id) {
  const now = allOutputs(document, definitions).map((each) => each.id).filter((each) => showsOutput(document, String(each)));
  const outputs = now.includes(id) ? now.filter((each) => each !== id) : [...now, id];
  choose(document, chosen(document)?.inputs ?? fields(document, definitions).map((field) => /** @type {[Id, string]} */ ([field.id, field.name])), outputs);
}

/** Put a value into the form or take it out. @param {Document} document @param {Definitions} definitions @param {Field} field */
export function toggle(document, definitions, { id, name }) {
  const now = fields(document, definitions).map((field) => /** @type {[Id, string]} */ ([field.id, field.name]));
  const without = now.filter(([each, input]) => !(String(each) === String(id) && input === name));
  const inputs = without.length === now.length ? [...now, /** @type {[Id, string]} */ ([id, name])] : without;
  choose(document, inputs, chosen(document)?.outputs ?? []);
}

/** @param {Document} document @param {readonly [Id, string][]} inputs @param {readonly Id[]} outputs */
function choose(document, inputs, outputs) {
  document.edit("Choose what the form shows", (tx) => {
    const { record } = document.root;
    tx.put(ROOT, "graph", { ...record, extra: { ...record.extra, linearData: { inputs, outputs } } });
  });
}
