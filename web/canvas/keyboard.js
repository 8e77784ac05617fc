// The graph by keys alone: arrows walk along links and to neighbours, Enter goes into a node's fields, Escape comes back out.

import { t } from "../shell/i18n.js";
import { nodeOf } from "./view.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {"ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown"} Arrow */

const ARROWS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);

/** @param {Stage} stage @returns {() => void} stops listening */
export function listenToFocus(stage) {
  const { root } = stage;
  const stop = new AbortController();
  const { signal } = stop;

  root.addEventListener("focusin", (event) => {
    const id = nodeOf(/** @type {Element} */ (event.target));
    if (id === null || id === stage.focused) return;
    stage.focused = id;
    stage.reveal(id);
  }, { signal });
  root.addEventListener("focusout", (event) => {
    if (!root.contains(/** @type {Node | null} */ (event.relatedTarget))) stage.focused = null;
  }, { signal });

  root.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const id = nodeOf(target);
    const onNode = id !== null && target.classList.contains("node");
    if (event.key === "Escape") {
      if (id !== null && !onNode) {
        stage.viewOf(id)?.element.focus({ preventScroll: true }); // what is selected stays selected
        event.preventDefault();
      } else if (stage.session.selection.selected.nodes.size + stage.session.selection.selected.groups.size) {
        stage.session.selection.clear();
        root.focus({ preventScroll: true });
        event.preventDefault();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target !== root && !onNode) return;
    if (ARROWS.has(event.key)) {
      const next = onNode ? neighbour(stage, id, /** @type {Arrow} */ (event.key)) : nearestToMiddle(stage);
      if (next !== null) {
        focusNode(stage, next, event.shiftKey);
        event.preventDefault();
        event.stopPropagation();
      }
    } else if (event.key === "Enter" && onNode) {
      const item = stage.scene.items.get(id);
      if (item?.face.kind === "subgraph" && !event.shiftKey) stage.enter([...stage.session.within, id]);
      else if (!stage.viewOf(id)?.enter()) stage.say(t("This node has no fields."));
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Enter" && target === root) {
      const next = nearestToMiddle(stage);
      if (next !== null) focusNode(stage, next);
      event.preventDefault();
      event.stopPropagation();
    }
  }, { signal });
  return () => stop.abort();
}

/** Put the focus on a node and select it. @param {Stage} stage @param {Id} id @param {boolean} [add]  keep what is selected */
export function focusNode(stage, id, add = false) {
  const { selection } = stage.session;
  stage.focused = id;
  selection.set(add ? [...selection.selected.nodes, id] : [id]);
  stage.reveal(id);
  stage.viewOf(id)?.element.focus({ preventScroll: true });
}

/**
 * Where an arrow leads: left and right along links, else to the nearest node that way.
 * @param {Stage} stage
 * @param {Id} id
 * @param {Arrow} arrow
 * @returns {Id | null}
 */
export function neighbour(stage, id, arrow) {
  const { linked } = stage.scene.view;
  const along = arrow === "ArrowLeft" ? linked.into(id).map((link) => link.from) : arrow === "ArrowRight" ? linked.outOf(id).map((link) => link.to) : [];
  const next = along.find((each) => stage.scene.items.has(each) && each !== id);
  if (next !== undefined) return next;
  const from = stage.scene.items.get(id);
  if (!from) return null;
  const [ax, ay] = centre(from.bounds);
  let best = null;
  let least = Infinity;
  for (const item of stage.scene.items.values()) {
    if (item.id === id) continue;
    const [bx, by] = centre(item.bounds);
    const [ahead, aside] = arrow === "ArrowLeft" ? [ax - bx, ay - by] : arrow === "ArrowRight" ? [bx - ax, by - ay] : arrow === "ArrowUp" ? [ay - by, ax - bx] : [by - ay, bx - ax];
    const cost = ahead + 2.5 * Math.abs(aside);
    if (ahead > 0 && cost < least) [best, least] = [item.id, cost];
  }
  return best;
}

/** @param {Stage} stage @returns {Id | null} */
function nearestToMiddle(stage) {
  const [selected] = stage.session.selection.selected.nodes;
  if (selected !== undefined) return selected;
  const [x, y, w, h] = stage.camera.visible();
  let best = null;
  let least = Infinity;
  for (const item of stage.scene.items.values()) {
    const [cx, cy] = centre(item.bounds);
    const distance = Math.hypot(cx - x - w / 2, cy - y - h / 2);
    if (distance < least) [best, least] = [item.id, distance];
  }
  return best;
}

/** @param {readonly [number, number, number, number]} bounds */
function centre([left, top, right, bottom]) {
  return [(left + right) / 2, (top + bottom) / 2];
}
