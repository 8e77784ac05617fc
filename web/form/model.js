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

/** Put a value into the form or take it out. @param {Document} document @param {Definitions} definitions @param {Field} field */
export function toggle(document, definitions, { id, name }) {
  const now = fields(document, definitions).map((field) => /** @type {[Id, string]} */ ([field.id, field.name]));
  const without = now.filter(([each, input]) => !(String(each) === String(id) && input === name));
  const inputs = without.length === now.length ? [...now, /** @type {[Id, string]} */ ([id, name])] : without;
  const outputs = chosen(document)?.outputs ?? [];
  document.edit("Choose inputs of the form", (tx) => {
    const { record } = document.root;
    tx.put(ROOT, "graph", { ...record, extra: { ...record.extra, linearData: { inputs, outputs } } });
  });
}
