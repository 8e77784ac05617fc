// Values of nodes the server does not know, as far as the file itself says what they are called.

/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */

const CONTROL = new Set(["fixed", "increment", "decrement", "randomize", "increment-wrap"]);

/**
 * By the names in the file; else by the sockets of its widgets, where there is exactly one value for each. The "randomize, increment ..."
 * beside a number is for the editor only and left out.
 * @param {Readonly<NodeRecord>} node
 * @returns {Map<string, unknown> | null} null when nobody can tell
 */
export function namesInFile(node) {
  const values = node.widgets_values;
  const named = node.widgets_values_named ?? (Array.isArray(values) ? null : values);
  if (named) {
    const real = Object.entries(named).filter(([name, value]) => name !== "control_after_generate" && !(CONTROL.has(name) && isControl(value)));
    return new Map(real);
  }
  if (!Array.isArray(values)) return new Map();
  const names = (node.inputs ?? []).flatMap((slot) => slot.widget?.name ?? []);
  let controls = values.length - names.length;
  const meant = values.filter((value, i) => {
    const beside = controls > 0 && isControl(value) && typeof values[i - 1] === "number";
    if (beside) controls--;
    return !beside;
  });
  return meant.length === names.length ? new Map(names.map((name, i) => [name, meant[i]])) : null;
}

/** @param {unknown} value */
function isControl(value) {
  return typeof value === "string" && CONTROL.has(value);
}
