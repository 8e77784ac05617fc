// Which sockets fit together. A type is a name, several names with commas between, a list of choices (an old way to write COMBO), or a wildcard.

/** @typedef {import("./records.js").SlotType} SlotType */

/**
 * Whether a type fits everything: `*`, the empty string, or 0.
 * @param {SlotType | null | undefined} type
 */
export function isWildcard(type) {
  return type === "*" || type === "" || type === 0 || type === null || type === undefined;
}

/**
 * The names a type stands for, in capitals.
 * @param {SlotType} type
 * @returns {string[]}
 */
export function typeNames(type) {
  if (Array.isArray(type)) return ["COMBO"];
  return String(type).split(",").map((name) => name.trim().toUpperCase()).filter((name) => name !== "");
}

/**
 * Whether an output of one type may feed an input of another: either is a wildcard, or they share a name.
 * Two lists of choices must hold the same choices, since one value has to be right for both.
 * @param {SlotType | null | undefined} output
 * @param {SlotType | null | undefined} input
 */
export function compatible(output, input) {
  if (isWildcard(output) || isWildcard(input)) return true;
  if (Array.isArray(output) && Array.isArray(input)) return sameType(output, input);
  const accepted = typeNames(/** @type {SlotType} */ (input));
  return typeNames(/** @type {SlotType} */ (output)).some((name) => name === "*" || accepted.includes(name) || accepted.includes("*"));
}

/**
 * Whether two types are written the same way.
 * @param {SlotType | null | undefined} a
 * @param {SlotType | null | undefined} b
 */
export function sameType(a, b) {
  return a === b || (Array.isArray(a) && Array.isArray(b) && JSON.stringify(a) === JSON.stringify(b));
}

/**
 * Why a link is refused, as a sentence; null when it is not.
 * @param {SlotType} output
 * @param {SlotType} input
 */
export function refusal(output, input) {
  if (compatible(output, input)) return null;
  if (Array.isArray(output) && Array.isArray(input)) return "The two lists hold different choices.";
  return `${typeNames(output).join(" or ")} does not fit ${typeNames(input).join(" or ")}.`;
}
