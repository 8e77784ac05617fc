// What a pressed pointer can turn into. A gesture hears where the pointer is, in graph units, until it is let go or called off.

import { addReroute, moveReroute } from "../core/commands/links.js";
import { changeGroup, inside, moveGroup } from "../core/commands/groups.js";
import { moveNodes, resizeNode } from "../core/commands/nodes.js";
import { fitsOnLink, insertOnLink } from "../core/commands/rewire.js";
import { make } from "./dom.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {{x: number, y: number}} Point  on the page */
/**
 * @typedef {object} Gesture
 * @property {(x: number, y: number, client: Point, event: PointerEvent) => void} move
 * @property {(x: number, y: number, client: Point) => void} drop
 * @property {() => void} cancel
 * @property {boolean} [edge]  goes on over the edge of the screen: the camera follows
 */

let row = 0;
/** A key that joins the steps of one drag in the history. */
const together = () => `drag ${++row}`;

/** Move the camera. @param {Stage} stage @param {Point} from @returns {Gesture} */
export function pan(stage, from) {
  let last = from;
  stage.root.classList.add("panning");
  const end = () => stage.root.classList.remove("panning");
  return {
    move(_x, _y, client) {
      stage.camera.pan(client.x - last.x, client.y - last.y);
      last = client;
      stage.moved();
    },
    drop: end,
    cancel: end,
  };
}

/** Select what a frame touches. @param {Stage} stage @param {number} x0 @param {number} y0 @param {boolean} add @returns {Gesture} */
export function box(stage, x0, y0, add) {
  const frame = make("div", "box");
  stage.overlay.append(frame);
  const { selection } = stage.session;
  const before = add ? selection.selected : { nodes: new Set(), groups: new Set() };
  return {
    edge: true,
    move(x, y) {
      const [left, top, right, bottom] = [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)];
      const [sx, sy] = stage.camera.toScreen(left, top);
      frame.style.transform = `translate(${sx}px, ${sy}px)`;
      frame.style.width = `${(right - left) * stage.camera.scale}px`;
      frame.style.height = `${(bottom - top) * stage.camera.scale}px`;
      const nodes = new Set([...before.nodes, ...stage.scene.nodesIn([left, top, right, bottom]).map(({ id }) => id)]);
      const groups = [...stage.scene.view.groups.values()].filter(({ bounding: [gx, gy, w, h] }) => gx >= left && gy >= top && gx + w <= right && gy + h <= bottom);
      const now = selection.selected;
      if (nodes.size !== now.nodes.size || [...nodes].some((id) => !now.nodes.has(id)) || groups.length !== now.groups.size) selection.set(nodes, [...before.groups, ...groups.map(({ id }) => id)]);
    },
    drop() {
      frame.remove();
      stage.say(`${selection.selected.nodes.size} nodes selected`);
    },
    cancel() {
      frame.remove();
      selection.set(before.nodes, before.groups);
    },
  };
}

/**
 * Drag nodes and groups.
 * @param {Stage} stage
 * @param {number} x0
 * @param {number} y0
 * @param {Iterable<Id>} ids
 * @param {Iterable<Id>} [groups]
 * @returns {Gesture}
 */
export function drag(stage, x0, y0, ids, groups = []) {
  const { document: graph, settings, definitions } = stage.session;
  const name = stage.scene.graph;
  const merge = together();
  const frames = [...groups];
  const carried = new Map(frames.map((id) => [id, inside(stage.scene.view, /** @type {any} */ (stage.scene.view.groups.get(id)).bounding)]));
  const inFrames = new Set([...carried.values()].flatMap((members) => members.nodes));
  const nodes = [...ids].filter((id) => !inFrames.has(id) && stage.scene.items.get(id)?.node.flags?.pinned !== true);
  const anchor = stage.scene.items.get(nodes[0])?.node.pos ?? stage.scene.view.groups.get(frames[0])?.bounding ?? [0, 0];
  let [dx, dy] = [0, 0];
  stage.held = new Set(nodes.length <= 60 ? nodes : []);
  const lone = nodes.length === 1 && !frames.length && stage.scene.view.linked.of(nodes[0]).length === 0 ? nodes[0] : null;
  /** @type {Id | null} */
  let onto = null;
  return {
    edge: true,
    move(x, y, _client, event) {
      let [tx, ty] = [x - x0, y - y0];
      if ((settings.get("canvas.snap") === true) !== event.altKey) {
        const grid = Number(settings.get("canvas.gridSize") ?? 20);
        tx = Math.round((anchor[0] + tx) / grid) * grid - anchor[0];
        ty = Math.round((anchor[1] + ty) / grid) * grid - anchor[1];
      }
      const [mx, my] = [tx - dx, ty - dy];
      if (mx === 0 && my === 0) return;
      [dx, dy] = [tx, ty];
      graph.edit("Move", () => {
        moveNodes(graph, name, nodes, mx, my);
        for (const id of frames) moveGroup(graph, name, id, mx, my, { members: carried.get(id) });
      }, { merge });
      if (lone !== null) {
        const item = stage.scene.items.get(lone);
        const wire = item && stage.scene.wireAt((item.bounds[0] + item.bounds[2]) / 2, item.bounds[1] + 15, 30);
        onto = wire && fitsOnLink(graph, name, lone, wire.link.id) ? wire.link.id : null;
        stage.hotWire = onto;
      }
    },
    drop() {
      stage.held = new Set();
      stage.hotWire = null;
      if (lone !== null && onto !== null) {
        graph.edit("Insert on link", () => void insertOnLink(graph, name, lone, /** @type {Id} */ (onto), definitions.get(graph.graph(name).node(lone).type)), { merge });
      }
      graph.seal();
      stage.invalidate();
    },
    cancel() {
      stage.held = new Set();
      stage.hotWire = null;
      graph.seal();
      if (dx || dy) graph.undo();
    },
  };
}

/** @param {Stage} stage @param {Id} id @returns {Gesture} */
export function resize(stage, id) {
  const { document: graph } = stage.session;
  const merge = together();
  const item = stage.scene.items.get(id);
  let changed = false;
  return {
    move(x, y) {
      if (!item) return;
      const [left, , , ] = item.bounds;
      const [leastWidth, leastHeight] = item.shape.smallest;
      resizeNode(graph, stage.scene.graph, id, Math.max(leastWidth, x - left), Math.max(leastHeight, y - item.node.pos[1]), { merge });
      changed = true;
    },
    drop: () => graph.seal(),
    cancel() {
      graph.seal();
      if (changed) graph.undo();
    },
  };
}

/** @param {Stage} stage @param {Id} id @returns {Gesture} */
export function resizeGroup(stage, id) {
  const { document: graph } = stage.session;
  const merge = together();
  let changed = false;
  return {
    move(x, y) {
      const group = stage.scene.view.groups.get(id);
      if (!group) return;
      const [left, top] = group.bounding;
      changeGroup(graph, stage.scene.graph, id, { bounding: [left, top, Math.max(140, x - left), Math.max(80, y - top)] }, { merge });
      changed = true;
    },
    drop: () => graph.seal(),
    cancel() {
      graph.seal();
      if (changed) graph.undo();
    },
  };
}

/** Drag a bend of a link; on a link without one at that place, bend it. @param {Stage} stage @param {{reroute: Id} | {link: Id}} what @param {number} x0 @param {number} y0 @returns {Gesture} */
export function bend(stage, what, x0, y0) {
  const { document: graph } = stage.session;
  const merge = together();
  let changed = "link" in what;
  const id = "link" in what ? graph.edit("Add reroute", () => addReroute(graph, stage.scene.graph, what.link, [x0, y0]), { merge }) : what.reroute;
  return {
    move(x, y) {
      moveReroute(graph, stage.scene.graph, id, [x, y], { merge });
      changed = true;
    },
    drop: () => graph.seal(),
    cancel() {
      graph.seal();
      if (changed) graph.undo();
    },
  };
}

/** Two fingers: move and zoom at once. @param {Stage} stage @param {Point} a @param {Point} b */
export function pinch(stage, a, b) {
  let middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  let apart = Math.hypot(a.x - b.x, a.y - b.y) || 1;
  return {
    /** @param {Point} c @param {Point} d */
    move(c, d) {
      const now = { x: (c.x + d.x) / 2, y: (c.y + d.y) / 2 };
      const far = Math.hypot(c.x - d.x, c.y - d.y) || 1;
      const rect = stage.rect();
      stage.camera.pan(now.x - middle.x, now.y - middle.y);
      stage.camera.zoomAt(now.x - rect.left, now.y - rect.top, far / apart);
      [middle, apart] = [now, far];
      stage.moved();
    },
  };
}
