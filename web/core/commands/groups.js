// What can be done to groups: coloured frames. What lies inside a frame moves with it; membership is a matter of place, not of lists.

import { nextId } from "./ids.js";

/** @typedef {import("../records.js").Id} Id */
/** @typedef {import("../records.js").Box} Box */
/** @typedef {import("../records.js").GroupRecord} GroupRecord */
/** @typedef {import("../records.js").NodeRecord} NodeRecord */
/** @typedef {import("../graphview.js").GraphView} GraphView */
/** @typedef {import("../document.js").Document} Document */
/** @typedef {import("../document.js").EditOptions} EditOptions */

/** @param {Document} document @param {string} graph @param {string} title @param {Box} bounding @param {string} [color] @returns {Id} */
export function addGroup(document, graph, title, bounding, color) {
  return document.edit("Add group", (tx) => {
    const id = nextId(document, tx, graph, "groups");
    tx.put(graph, "groups", { id, rank$: document.nextRank(), title, bounding, ...(color ? { color } : {}), flags: {} });
    return id;
  });
}

/**
 * Another title, colour or box.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {Partial<Pick<GroupRecord, "title" | "bounding" | "color">>} difference
 * @param {EditOptions} [options]
 */
export function changeGroup(document, graph, id, difference, options) {
  document.edit("Change group", (tx) => tx.put(graph, "groups", { ...groupOf(document.graph(graph), id), ...difference }), options);
}

/** Remove the frame; what is inside stays. @param {Document} document @param {string} graph @param {Id} id */
export function removeGroup(document, graph, id) {
  document.edit("Remove group", (tx) => tx.remove(graph, "groups", groupOf(document.graph(graph), id).id));
}

/**
 * Move a frame with the nodes, reroutes and smaller frames inside it. `members`, taken when a drag starts, keeps it from picking up more.
 * @param {Document} document
 * @param {string} graph
 * @param {Id} id
 * @param {number} dx
 * @param {number} dy
 * @param {EditOptions & {members?: ReturnType<typeof inside>}} [options]
 */
export function moveGroup(document, graph, id, dx, dy, { members, ...options } = {}) {
  const view = document.graph(graph);
  const { nodes, groups, reroutes } = members ?? inside(view, groupOf(view, id).bounding);
  document.edit(
    "Move group",
    (tx) => {
      for (const each of new Set([id, ...groups])) {
        const group = groupOf(view, each);
        const [x, y, w, h] = group.bounding;
        tx.put(graph, "groups", { ...group, bounding: [x + dx, y + dy, w, h] });
      }
      for (const each of nodes) {
        const node = view.node(each);
        tx.put(graph, "nodes", { ...node, pos: [node.pos[0] + dx, node.pos[1] + dy] });
      }
      for (const each of reroutes) {
        const reroute = view.reroutes.get(each);
        if (reroute) tx.put(graph, "reroutes", { ...reroute, pos: [reroute.pos[0] + dx, reroute.pos[1] + dy] });
      }
    },
    options,
  );
}

/**
 * What lies in a box: nodes and reroutes by their middle, frames that are wholly in it.
 * @param {GraphView} view
 * @param {Box} box
 * @returns {{nodes: Id[], groups: Id[], reroutes: Id[]}}
 */
export function inside(view, [x, y, w, h]) {
  /** @param {number} px @param {number} py */
  const holds = (px, py) => px >= x && py >= y && px <= x + w && py <= y + h;
  return {
    nodes: [...view.nodes.values()].filter(({ pos, size }) => holds(pos[0] + size[0] / 2, pos[1] + size[1] / 2)).map(({ id }) => id),
    groups: [...view.groups.values()].filter(({ bounding: [gx, gy, gw, gh] }) => holds(gx, gy) && holds(gx + gw, gy + gh)).map(({ id }) => id),
    reroutes: [...view.reroutes.values()].filter(({ pos }) => holds(pos[0], pos[1])).map(({ id }) => id),
  };
}

/** @param {GraphView} view @param {Id} id */
function groupOf(view, id) {
  const group = view.groups.get(id);
  if (!group) throw new Error(`There is no group ${id} in the graph ${view.name}.`);
  return group;
}
