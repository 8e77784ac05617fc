// Places for nodes that have none: a column per step from the start of the graph, nodes of a column below each other.

const GAP_X = 60;
const GAP_Y = 40;

/**
 * @template Id
 * @param {readonly {id: Id, size: readonly [number, number]}[]} nodes
 * @param {readonly {from: Id, to: Id}[]} links
 * @returns {Map<Id, [number, number]>} top left corners
 */
export function inColumns(nodes, links) {
  /** @type {Map<Id, Id[]>} */
  const after = new Map(nodes.map(({ id }) => [id, []]));
  /** @type {Map<Id, number>} */
  const waitingFor = new Map(nodes.map(({ id }) => [id, 0]));
  for (const { from, to } of links) {
    if (!after.has(from) || !after.has(to)) continue;
    after.get(from)?.push(to);
    waitingFor.set(to, (waitingFor.get(to) ?? 0) + 1);
  }
  /** @type {Map<Id, number>} longest way from a start; nodes in a circle stay in the first column */
  const column = new Map(nodes.map(({ id }) => [id, 0]));
  const ready = nodes.filter(({ id }) => waitingFor.get(id) === 0).map(({ id }) => id);
  for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
    for (const next of after.get(id) ?? []) {
      column.set(next, Math.max(column.get(next) ?? 0, (column.get(id) ?? 0) + 1));
      const left = (waitingFor.get(next) ?? 0) - 1;
      waitingFor.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  /** @type {number[]} */
  const widths = [];
  for (const { id, size } of nodes) {
    const at = column.get(id) ?? 0;
    while (widths.length <= at) widths.push(0);
    widths[at] = Math.max(widths[at], size[0]);
  }
  const lefts = widths.map((_, i) => widths.slice(0, i).reduce((sum, width) => sum + width + GAP_X, 0));
  const bottoms = widths.map(() => 0);
  return new Map(
    nodes.map(({ id, size }) => {
      const at = column.get(id) ?? 0;
      const y = bottoms[at];
      bottoms[at] += size[1] + GAP_Y;
      return [id, [lefts[at], y]];
    }),
  );
}
