// Frozen results: a node that keeps what it brought before. It holds the part of the run that made its result, and runs with that part
// in the place of what feeds it now. The server knows the same nodes with the same values again, so it has the result, or makes the very same.

/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("./prompt.js").Prompt} Prompt */
/** @typedef {import("./prompt.js").PromptNode} PromptNode */
/** @typedef {{node: string, prompt: Prompt}} Frozen  `node`: which one of the part it is itself */

/** The property of a node that holds it. */
export const FROZEN = "Emulsion frozen";
/** Between the id of a frozen node and that of a node of its part. */
const INSIDE = "~";

/**
 * A node of a run with all that leads to it.
 * @param {Prompt} prompt
 * @param {string} id
 * @returns {Frozen}
 */
export function freeze(prompt, id) {
  /** @type {Prompt} */
  const part = {};
  const waiting = [id];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (Object.hasOwn(part, at)) continue;
    part[at] = prompt[at];
    waiting.push(...Object.values(prompt[at].inputs).flatMap((value) => (isLink(value, prompt) ? [value[0]] : [])));
  }
  return { node: id, prompt: part };
}

/**
 * What a node holds, if it is what the node can run: a file may say anything.
 * @param {Readonly<NodeRecord>} node
 * @returns {Frozen | null}
 */
export function frozenIn(node) {
  const held = /** @type {any} */ (node.properties?.[FROZEN]);
  if (!isObject(held?.prompt) || !Object.values(held.prompt).every((each) => isObject(each) && typeof each.class_type === "string" && isObject(each.inputs))) return null;
  const own = Object.hasOwn(held.prompt, held.node) ? held.prompt[held.node] : null;
  return own && own.class_type === node.type ? held : null;
}

/**
 * The nodes to send for a frozen one: it under its own id, what leads to it under ids no other node has.
 * @param {Frozen} frozen
 * @param {string} id
 * @returns {[string, PromptNode][]}
 */
export function thawed({ node, prompt }, id) {
  /** @param {string} inner */
  const named = (inner) => (inner === node ? id : id + INSIDE + inner);
  return Object.entries(prompt).map(([inner, { inputs, ...rest }]) => [
    named(inner),
    { ...rest, inputs: Object.fromEntries(Object.entries(inputs).flatMap(([name, value]) => (isLink(value, prompt) ? [[name, [named(value[0]), value[1]]]] : Array.isArray(value) ? [] : [[name, value]]))) },
  ]);
}

/** The node of the graph that an id of a run belongs to. @param {string} id */
export function ownerOf(id) {
  return id.split(INSIDE, 1)[0];
}

/** @param {unknown} value @param {Prompt} prompt @returns {value is [string, number]} */
function isLink(value, prompt) {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && Object.hasOwn(prompt, value[0]);
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
