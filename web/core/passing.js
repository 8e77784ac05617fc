// What goes through a bypassed node.

import { compatible, isWildcard, sameType } from "./types.js";

/** @typedef {import("./records.js").NodeRecord} NodeRecord */
/** @typedef {import("./records.js").SlotType} SlotType */

/**
 * Which input of a bypassed node its output passes on.
 * @param {Readonly<NodeRecord>} node
 * @param {number} output
 * @param {SlotType} target  what is wanted in the end
 * @returns {number} -1 when none fits
 */
export function bypass(node, output, target) {
  const inputs = node.inputs ?? [];
  if (isWildcard(target)) return output < inputs.length ? output : inputs.length - 1 < 0 ? -1 : 0;
  const type = node.outputs?.[output]?.type;
  /** @param {SlotType} candidate */
  const fits = (candidate) => compatible(candidate, type) && compatible(candidate, target);
  if (output < inputs.length && fits(inputs[output].type)) return output;
  const same = inputs.findIndex((input) => sameType(input.type, target));
  return same >= 0 ? same : inputs.findIndex((input) => fits(input.type));
}
