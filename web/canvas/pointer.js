// Pointers on the canvas: which gesture a press begins, and where the wheel and the fingers lead.

import { duplicate } from "./clipboard.js";
import { bend, box, drag, pan, pinch, resize, resizeGroup } from "./gestures.js";
import { knife, lasso } from "./freehand.js";
import { LinkDrag } from "./linking.js";
import { openMenuAt } from "./menu.js";
import { rename } from "./rename.js";
import { nodeOf } from "./view.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./gestures.js").Gesture} Gesture */
/** @typedef {import("../core/records.js").Id} Id */

const SLACK = 4;
const EDGE = 26;
const LONG_PRESS_MS = 500;
/** Elements that take the pointer for themselves. */
const OWN = "input, textarea, select, button, a, audio, video, option, [data-drags], [data-own-pointer]";

/** @param {Stage} stage @returns {() => void} stops listening */
export function listenToPointers(stage) {
  const { root } = stage;
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  /** @type {{id: number, gesture: Gesture | null, begin: (() => Gesture) | null, click: (() => void) | null, at: {x: number, y: number}, event: PointerEvent} | null} */
  let press = null;
  /** @type {ReturnType<typeof pinch> | null} */
  let pinching = null;
  let edging = 0;
  let long = 0;
  let space = false;
  const stop = new AbortController();
  const { signal } = stop;

  /** @param {PointerEvent} event */
  const touchy = (event) => event.pointerType === "touch";

  /** What a press at a place would begin. @param {PointerEvent} event @param {number} x @param {number} y @returns {{begin: (() => Gesture) | null, click: (() => void) | null}} */
  const meaning = (event, x, y) => {
    const { scene, camera, session } = stage;
    const { selection } = session;
    const more = event.shiftKey || event.ctrlKey || event.metaKey;
    const px = 1 / camera.scale;
    const lookAround = () => pan(stage, { x: event.clientX, y: event.clientY });
    if (event.button === 1 || (event.button === 0 && space)) return { begin: lookAround, click: null };
    if (event.button !== 0) return { begin: null, click: null };
    const readable = camera.scale > 0.2;
    if (session.settings.get("canvas.locked") === true) {
      const hit = scene.nodeAt(x, y);
      const id = hit && scene.items.has(hit.id) ? hit.id : null;
      return { begin: lookAround, click: () => (id === null ? selection.clear() : more ? selection.toggle(id) : selection.set([id])) };
    }
    const socket = readable ? scene.socketAt(x, y, Math.max(9, (touchy(event) ? 18 : 8) * px)) : null;
    if (socket) return { begin: () => linkGesture(stage, socket), click: null };
    const item = scene.nodeAt(x, y);
    if (item && scene.items.has(item.id)) {
      const { id, bounds } = item;
      const corner = Math.max(12, (touchy(event) ? 20 : 10) * px);
      if (!item.shape.collapsed && item.face.kind !== "reroute" && readable && x > bounds[2] - corner && y > bounds[3] - corner) return { begin: () => resize(stage, id), click: () => selection.set([id]) };
      const was = selection.selected.nodes.has(id);
      stage.focused = id;
      if (more) {
        return {
          begin: () => {
            if (!selection.selected.nodes.has(id)) selection.toggle(id);
            return drag(stage, x, y, selection.selected.nodes, selection.selected.groups);
          },
          click: () => selection.toggle(id),
        };
      }
      if (!was) selection.set([id]);
      return {
        begin: () => {
          if (event.altKey) duplicate(stage, [0, 0]);
          return drag(stage, x, y, selection.selected.nodes, selection.selected.groups);
        },
        click: () => was && selection.set([id]),
      };
    }
    if (item) return { begin: lookAround, click: null };
    const reroute = [...scene.view.reroutes.values()].find(({ pos }) => Math.hypot(pos[0] - x, pos[1] - y) < Math.max(9, 8 * px));
    if (reroute) return { begin: () => bend(stage, { reroute: reroute.id }, x, y), click: null };
    const wire = readable ? scene.wireAt(x, y, 7 * px) : null;
    if (wire && event.altKey) return { begin: () => bend(stage, { link: wire.link.id }, x, y), click: () => bend(stage, { link: wire.link.id }, x, y).drop(x, y, { x: 0, y: 0 }) };
    const group = groupAt(stage, x, y);
    if (group) {
      const { id, bounding: [gx, gy, w, h] } = group;
      if (x > gx + w - 16 * Math.max(1, px) && y > gy + h - 16 * Math.max(1, px)) return { begin: () => resizeGroup(stage, id), click: null };
      if (y < gy + 34) {
        if (!selection.selected.groups.has(id)) more ? selection.set(selection.selected.nodes, [...selection.selected.groups, id]) : selection.set([], [id]);
        return { begin: () => drag(stage, x, y, selection.selected.nodes, selection.selected.groups), click: null };
      }
    }
    const clear = () => {
      if (!more) selection.clear();
      root.focus({ preventScroll: true });
    };
    if (event.altKey) return { begin: event.shiftKey ? () => knife(stage, x, y) : () => lasso(stage, x, y, event.ctrlKey || event.metaKey), click: clear };
    const chooses = (session.settings.get("canvas.leftDrag") === "select") !== more;
    return { begin: chooses && !touchy(event) ? () => box(stage, x, y, more) : lookAround, click: clear };
  };

  /** @param {boolean} cancelled @param {PointerEvent} [event] */
  const release = (cancelled, event) => {
    if (!press) return;
    const { gesture, click } = press;
    press = null;
    clearTimeout(long);
    cancelAnimationFrame(edging);
    edging = 0;
    if (gesture && event && !cancelled) {
      const [x, y] = stage.toGraph(event.clientX, event.clientY);
      gesture.drop(x, y, { x: event.clientX, y: event.clientY });
    } else if (gesture) gesture.cancel();
    else if (!cancelled) click?.();
  };

  /** At the edge of the screen the camera goes on by itself. */
  const followEdge = () => {
    edging = 0;
    if (!press?.gesture?.edge) return;
    const rect = stage.rect();
    const { clientX, clientY } = press.event;
    /** @param {number} at @param {number} low @param {number} high */
    const push = (at, low, high) => (at < low + EDGE ? Math.min(14, (low + EDGE - at) / 2) : at > high - EDGE ? -Math.min(14, (at - high + EDGE) / 2) : 0);
    const [dx, dy] = [push(clientX, rect.left, rect.right), push(clientY, rect.top, rect.bottom)];
    if (!dx && !dy) return;
    stage.camera.pan(dx, dy);
    stage.moved();
    const [x, y] = stage.toGraph(clientX, clientY);
    press.gesture.move(x, y, { x: clientX, y: clientY }, press.event);
    edging = requestAnimationFrame(followEdge);
  };

  root.addEventListener("pointerdown", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest(OWN) && !(event.button === 1)) {
      const id = nodeOf(target);
      const { selection } = stage.session;
      if (id !== null) stage.focused = id; // it gets the focus now: brought into view, it would slip away under the pointer, and the click be lost
      if (id !== null && event.button === 0 && !selection.selected.nodes.has(id)) event.shiftKey || event.ctrlKey ? selection.toggle(id) : selection.set([id]);
      return;
    }
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (touchy(event) && fingers.size === 2) {
      release(true);
      const [a, b] = [...fingers.values()];
      pinching = pinch(stage, a, b);
      return;
    }
    if (press || fingers.size > 1) return;
    const active = document.activeElement;
    if (active instanceof HTMLElement && active.matches("input, textarea, select") && root.contains(active)) active.blur();
    const [x, y] = stage.toGraph(event.clientX, event.clientY);
    press = { id: event.pointerId, gesture: null, ...meaning(event, x, y), at: { x: event.clientX, y: event.clientY }, event };
    const id = nodeOf(target);
    const view = id === null ? null : stage.views.get(id);
    if (view && event.button === 0) view.element.focus({ preventScroll: true });
    if (event.button === 1) event.preventDefault();
    else if (event.button === 0) event.preventDefault(); // no text is selected by a drag over nodes
    if (touchy(event)) {
      long = setTimeout(() => {
        if (!press || press.gesture) return;
        const { x: cx, y: cy } = press.at;
        press = null;
        openMenuAt(stage, cx, cy);
      }, LONG_PRESS_MS);
    }
  }, { signal });

  root.addEventListener("pointerleave", () => (stage.pointer = null), { signal });
  root.addEventListener("pointermove", (event) => {
    stage.pointer = { x: event.clientX, y: event.clientY };
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pinching && fingers.size >= 2) {
      const [a, b] = [...fingers.values()];
      pinching.move(a, b);
      return;
    }
    if (!press) return hover(event);
    if (press.id !== event.pointerId) return;
    press.event = event;
    if (!press.gesture) {
      if (Math.hypot(event.clientX - press.at.x, event.clientY - press.at.y) < (touchy(event) ? 3 * SLACK : SLACK) || !press.begin) return;
      clearTimeout(long);
      root.setPointerCapture(event.pointerId);
      press.gesture = press.begin();
    }
    const [x, y] = stage.toGraph(event.clientX, event.clientY);
    press.gesture.move(x, y, { x: event.clientX, y: event.clientY }, event);
    if (press.gesture.edge && !edging) edging = requestAnimationFrame(followEdge);
  }, { signal });

  /** @param {PointerEvent} event @param {boolean} cancelled */
  const up = (event, cancelled) => {
    fingers.delete(event.pointerId);
    if (fingers.size < 2) pinching = null;
    if (press?.id === event.pointerId) release(cancelled, event);
  };
  root.addEventListener("pointerup", (event) => up(event, false), { signal });
  root.addEventListener("pointercancel", (event) => up(event, true), { signal });

  /** Show what a press would do. @param {PointerEvent} event */
  const hover = (event) => {
    if (touchy(event)) return;
    const { scene, camera } = stage;
    const [x, y] = stage.toGraph(event.clientX, event.clientY);
    const px = 1 / camera.scale;
    const readable = camera.scale > 0.2;
    const socket = readable ? scene.socketAt(x, y, Math.max(9, 8 * px)) : null;
    const item = socket ? null : scene.nodeAt(x, y);
    const wire = socket || item || !readable ? null : scene.wireAt(x, y, 7 * px);
    const corner = Math.max(12, 10 * px);
    root.classList.toggle("over-socket", socket !== null);
    root.classList.toggle("over-link", wire !== null);
    root.classList.toggle("over-corner", item !== null && scene.items.has(item.id) && !item.shape.collapsed && x > item.bounds[2] - corner && y > item.bounds[3] - corner);
    const hot = wire?.link.id ?? null;
    if (hot !== stage.hotWire) {
      stage.hotWire = hot;
      stage.invalidate();
    }
  };

  root.addEventListener("wheel", (event) => {
    if (event.target instanceof Element && event.target.closest(".said, [data-own-wheel]")) return;
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
    const rect = stage.rect();
    const pans = stage.session.settings.get("canvas.wheel") === "pan";
    if (event.ctrlKey || event.metaKey || (!pans && !event.shiftKey)) {
      const rate = event.ctrlKey && Math.abs(event.deltaY) < 40 ? 0.01 : 0.0015;
      stage.camera.zoomAt(event.clientX - rect.left, event.clientY - rect.top, Math.exp(-Math.max(-240, Math.min(240, event.deltaY * unit)) * rate));
    } else if (event.shiftKey && event.deltaX === 0) stage.camera.pan(-event.deltaY * unit, 0);
    else stage.camera.pan(-event.deltaX * unit, -event.deltaY * unit);
    stage.moved();
  }, { signal, passive: false });

  root.addEventListener("dblclick", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest(OWN)) return;
    const [x, y] = stage.toGraph(event.clientX, event.clientY);
    const item = stage.scene.nodeAt(x, y);
    if (item) {
      if (!stage.scene.items.has(item.id)) return;
      if (item.face.kind === "subgraph" && y > item.node.pos[1]) return stage.enter([...stage.session.within, item.id]);
      if (y <= item.node.pos[1]) rename(stage, item.id);
      return;
    }
    const group = groupAt(stage, x, y);
    if (group && y < group.bounding[1] + 34) return rename(stage, group.id, "group");
    stage.emit("search", { at: [x, y], client: { x: event.clientX, y: event.clientY } });
  }, { signal });

  root.addEventListener("contextmenu", (event) => {
    if (/** @type {Element} */ (event.target).closest("input, textarea, audio, video, a")) return;
    event.preventDefault();
    release(true);
    openMenuAt(stage, event.clientX, event.clientY);
  }, { signal });

  document.addEventListener("keydown", (event) => {
    if (event.key === " " && !(event.target instanceof Element && event.target.closest("input, textarea, select, button"))) space = true;
    if (event.key === "Escape" && press) {
      release(true);
      event.preventDefault();
      event.stopPropagation();
    }
  }, { signal, capture: true });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") space = false;
  }, { signal });

  return () => {
    release(true);
    stop.abort();
  };
}

/** @param {Stage} stage @param {import("./scene.js").SocketHit} socket @returns {Gesture} */
function linkGesture(stage, socket) {
  const link = new LinkDrag(stage, socket);
  return { edge: true, move: (x, y) => link.move(x, y), drop: (x, y, client) => link.drop(x, y, client), cancel: () => link.cancel() };
}

/** The smallest group at a place. @param {Stage} stage @param {number} x @param {number} y */
export function groupAt(stage, x, y) {
  const around = [...stage.scene.view.groups.values()].filter(({ bounding: [gx, gy, w, h] }) => x >= gx && y >= gy && x <= gx + w && y <= gy + h);
  return around.sort((a, b) => a.bounding[2] * a.bounding[3] - b.bounding[2] * b.bounding[3])[0] ?? null;
}
