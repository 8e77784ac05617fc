// Nodes in line and at even distances. Pure: from boxes to places.

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {"left" | "right" | "top" | "bottom" | "rows" | "columns"} How */
/** @typedef {{id: Id, node: {pos: readonly [number, number]}, bounds: readonly [number, number, number, number]}} Boxed */

/**
 * @param {How} how  `rows`: even gaps across; `columns`: even gaps down
 * @param {readonly Boxed[]} items
 * @returns {Map<Id, [number, number]>} new places of the bodies
 */
export function align(how, items) {
  /** @type {Map<Id, [number, number]>} */
  const places = new Map();
  if (!items.length) return places;
  if (how === "rows" || how === "columns") {
    const [low, high] = how === "rows" ? [0, 2] : [1, 3];
    const sorted = [...items].sort((a, b) => a.bounds[low] - b.bounds[low]);
    const total = sorted.reduce((sum, { bounds }) => sum + bounds[high] - bounds[low], 0);
    const span = Math.max(...items.map(({ bounds }) => bounds[high])) - sorted[0].bounds[low];
    const gap = Math.max(20, (span - total) / Math.max(1, sorted.length - 1));
    let at = sorted[0].bounds[low];
    for (const { id, node, bounds } of sorted) {
      const by = at - bounds[low];
      places.set(id, low === 0 ? [node.pos[0] + by, node.pos[1]] : [node.pos[0], node.pos[1] + by]);
      at += bounds[high] - bounds[low] + gap;
    }
    return places;
  }
  const side = { left: 0, top: 1, right: 2, bottom: 3 }[how];
  const line = (side < 2 ? Math.min : Math.max)(...items.map(({ bounds }) => bounds[side]));
  for (const { id, node, bounds } of items) {
    const by = line - bounds[side];
    places.set(id, side % 2 === 0 ? [node.pos[0] + by, node.pos[1]] : [node.pos[0], node.pos[1] + by]);
  }
  return places;
}
