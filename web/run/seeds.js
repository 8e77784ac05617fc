// What follows a run: seeds and choices that are to change go on to their next value.

import { layoutFor, readControl, readWidgets, withWidget } from "../core/widgets.js";

/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */

const LARGEST = 2 ** 50;

/**
 * Move every controlled value on, as one step of the history (rows of runs are one step).
 * @param {Document} document
 * @param {Definitions} definitions
 * @param {() => number} [random]
 */
export function advance(document, definitions, random = Math.random) {
  document.edit(
    "New seed",
    (tx) => {
      for (const graph of ["root", ...document.definitions]) {
        for (const node of [...document.graph(graph).nodes.values()]) {
          const definition = definitions.get(node.type);
          if (!definition) continue;
          let changed = node;
          for (const { role, name, input } of layoutFor(node, definition)) {
            if (role !== "control" || isLinked(document, graph, node, name)) continue;
            const value = next(readControl(node, definition, name), readWidgets(node, definition).get(name), input, random);
            if (value !== undefined) changed = withWidget(changed, definition, name, value);
          }
          if (changed !== node) tx.put(graph, "nodes", changed);
        }
      }
    },
    { merge: "seeds" },
  );
}

/** @param {Document} document @param {string} graph @param {Readonly<import("../core/records.js").NodeRecord>} node @param {string} name */
function isLinked(document, graph, node, name) {
  const view = document.graph(graph);
  const slot = view.inputIndex(node.id, name);
  return slot >= 0 && view.linked.input(node.id, slot) !== null && view.linked.input(node.id, slot) !== undefined;
}

/**
 * @param {string | null} control
 * @param {unknown} value
 * @param {import("../core/definitions.js").InputDefinition} input
 * @param {() => number} random
 * @returns {unknown} undefined: it stays
 */
export function next(control, value, input, random) {
  if (input.choices) {
    const at = input.choices.indexOf(value);
    const most = input.choices.length;
    if (!most || control === "fixed") return undefined;
    if (control === "randomize") return input.choices[Math.floor(random() * most)];
    if (control === "increment") return input.choices[Math.min(at + 1, most - 1)];
    if (control === "increment-wrap") return input.choices[(at + 1) % most];
    return control === "decrement" ? input.choices[Math.max(at - 1, 0)] : undefined;
  }
  const number = Number(value);
  const min = Math.max(Number(input.options.min ?? 0), -LARGEST);
  const max = Math.min(Number(input.options.max ?? LARGEST), LARGEST);
  const step = Math.max(1, Math.round(Number(input.options.step ?? 1)));
  if (control === "randomize") return min + Math.floor(random() * Math.floor((max - min) / step + 1)) * step;
  if (control === "increment") return Math.min(number + step, max);
  if (control === "decrement") return Math.max(number - step, min);
  return undefined;
}
