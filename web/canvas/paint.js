// The canvas under the page's elements: grid, groups, links, and every node that is too far away to be read or not built yet.

import { colourOf, tone } from "./colours.js";
import { LINE, TITLE } from "./layout.js";
import { dotStep, paintDots } from "./ground.js";
import { moreWords } from "./face.js";
import { kind, kindOf } from "../widgets/registry.js";
import { BYPASSED, MUTED } from "../core/records.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Item} Item */
/** @typedef {import("./scene.js").Wire} Wire */
/** @typedef {import("./camera.js").Camera} Camera */
/** @typedef {import("./colours.js").Theme} Theme */
/** @typedef {import("../run/state.js").NodeRun} NodeRun */
/**
 * @typedef {object} Look
 * @property {Theme} theme
 * @property {ReadonlySet<Id>} selected
 * @property {ReadonlySet<Id>} selectedGroups
 * @property {(id: Id) => boolean} mounted  whether the page shows this node itself
 * @property {(id: Id) => Readonly<NodeRun>} run
 * @property {(id: Id) => ImageBitmap | null} picture
 * @property {Id | null} hotWire
 * @property {ReadonlySet<Id>} hiddenWires  being dragged
 * @property {boolean} moving  the view is being zoomed: small print can wait
 * @property {((item: Item) => boolean) | null} dims  nodes that do not fit what is being connected
 * @property {"curved" | "straight" | "hidden"} links
 * @property {boolean} grid
 * @property {import("./ground.js").Ground | null} [ground]  keeps the dots, where many frames are painted
 */

/** Below this scale a node is two rectangles. */
export const FAR = 0.3;
/** Below this scale widgets are bars without words; while zooming they are longer, since letters of every size are dear. */
const READABLE = 0.42;
const READABLE_MOVING = 0.9;
/** So wide on the screen that a node from afar bears its name; while zooming only where there are few, since letters of every size are dear. */
const NAMED = 64;
const FEW = 80;
const FONT = 'system-ui, "Segoe UI", Roboto, sans-serif';

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} ratio  device pixels per CSS pixel
 * @param {Camera} camera
 * @param {Scene} scene
 * @param {Look} look
 */
export function paint(ctx, ratio, camera, scene, look) {
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  const kept = look.grid && !look.moving ? look.ground : null; // while zooming every frame has dots of its own
  if (kept) kept.draw(ctx, ratio, camera, look.theme);
  else {
    ctx.fillStyle = look.theme.ground;
    ctx.fillRect(0, 0, camera.width * ratio, camera.height * ratio);
  }
  const scale = camera.scale * ratio;
  ctx.setTransform(scale, 0, 0, scale, -camera.x * scale, -camera.y * scale);
  const [x, y, w, h] = camera.visible(20);
  const region = /** @type {const} */ ([x, y, x + w, y + h]);
  if (look.grid && !kept) {
    const step = dotStep(camera.scale);
    paintDots(ctx, look.theme.dots, Math.floor(x / step) * step, Math.floor(y / step) * step, x + w, y + h, step, 1.4 / camera.scale);
  }
  paintGroups(ctx, camera, scene, look, region);
  if (look.links !== "hidden") paintWires(ctx, camera, scene.wiresIn(region), scene, look);
  paintNodes(ctx, camera, scene.nodesIn(region), look);
  for (const item of scene.boundary.values()) paintNode(ctx, camera.scale, item, look);
}

/** @param {CanvasRenderingContext2D} ctx @param {Camera} camera @param {Scene} scene @param {Look} look @param {import("./grid.js").Bounds} region */
function paintGroups(ctx, camera, scene, look, region) {
  for (const group of [...scene.view.groups.values()].sort((a, b) => a.rank$ - b.rank$)) {
    const [x, y, w, h] = group.bounding;
    if (x > region[2] || y > region[3] || x + w < region[0] || y + h < region[1]) continue;
    const colour = group.color || look.theme.edge;
    ctx.globalAlpha = 0.16;
    ctx.fillStyle = colour;
    ctx.beginPath();
    ctx.roundRect(x, y, w, h, 8);
    ctx.fill();
    ctx.globalAlpha = 1;
    const on = look.selectedGroups.has(group.id);
    ctx.lineWidth = (on ? 2 : 1) / Math.min(1, camera.scale);
    ctx.strokeStyle = on ? look.theme.accent : colour;
    ctx.stroke();
    const size = Math.max(16, Math.min(22, 11 / camera.scale));
    if (size * camera.scale < 7) continue;
    ctx.fillStyle = look.theme.ink;
    ctx.font = `600 ${size}px ${FONT}`;
    ctx.textBaseline = "middle";
    ctx.fillText(cut(ctx, group.title, w - 20), x + 10, y + 6 + size * 0.7);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {Camera} camera @param {readonly Wire[]} wires @param {Scene} scene @param {Look} look */
function paintWires(ctx, camera, wires, scene, look) {
  /** @type {Map<string, Wire[]>} a stroke per colour is far cheaper than one per link */
  const batches = new Map();
  /** @type {Wire[]} */
  const bright = [];
  for (const wire of wires) {
    if (look.hiddenWires.has(wire.link.id)) continue;
    if (look.selected.has(wire.link.from) || look.selected.has(wire.link.to) || wire.link.id === look.hotWire) bright.push(wire);
    const colour = colourOf(wire.link.type, look.theme.dark);
    const batch = batches.get(colour);
    if (batch) batch.push(wire);
    else batches.set(colour, [wire]);
  }
  const straight = look.links === "straight" || camera.scale < 0.12;
  ctx.lineCap = "butt";
  ctx.globalAlpha = bright.length ? 0.75 : 0.9;
  ctx.lineWidth = Math.max(2, 0.9 / camera.scale);
  for (const [colour, batch] of batches) {
    ctx.strokeStyle = colour;
    ctx.beginPath();
    for (const wire of batch) trace(ctx, wire, straight);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  ctx.lineWidth = Math.max(3.5, 1.4 / camera.scale);
  for (const wire of bright) {
    ctx.strokeStyle = colourOf(wire.link.type, look.theme.dark);
    ctx.beginPath();
    trace(ctx, wire, straight);
    ctx.stroke();
  }
  if (camera.scale < FAR) return;
  for (const reroute of scene.view.reroutes.values()) {
    const wire = wires.find((each) => each.link.parentId !== undefined && scene.view.reroutesOf(each.link).includes(reroute));
    if (!wire) continue;
    ctx.fillStyle = colourOf(wire.link.type, look.theme.dark);
    ctx.beginPath();
    ctx.arc(reroute.pos[0], reroute.pos[1], 7, 0, 7);
    ctx.fill();
    ctx.fillStyle = look.theme.ground;
    ctx.beginPath();
    ctx.arc(reroute.pos[0], reroute.pos[1], 3, 0, 7);
    ctx.fill();
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {Wire} wire @param {boolean} straight */
function trace(ctx, { curves }, straight) {
  ctx.moveTo(curves[0][0], curves[0][1]);
  for (const c of curves) {
    if (straight) ctx.lineTo(c[6], c[7]);
    else ctx.bezierCurveTo(c[2], c[3], c[4], c[5], c[6], c[7]);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {Camera} camera @param {readonly Item[]} items @param {Look} look */
function paintNodes(ctx, camera, items, look) {
  if (camera.scale >= FAR) {
    for (const item of items) if (!look.mounted(item.id)) paintNode(ctx, camera.scale, item, look);
    return;
  }
  // From afar: rectangles by colour, as few calls as can be.
  /** @type {Map<string, number[]>} */
  const boxes = new Map();
  /** @param {string} colour @param {number} x @param {number} y @param {number} w @param {number} h */
  const box = (colour, x, y, w, h) => {
    const list = boxes.get(colour);
    if (list) list.push(x, y, w, h);
    else boxes.set(colour, [x, y, w, h]);
  };
  /** @type {number[]} */
  const rings = [];
  /** @type {Item[]} */
  const pictures = [];
  for (let i = 0; i < items.length; i++) {
    const { id, node, shape, bounds: [left, top, right, bottom] } = items[i];
    if (look.mounted(id)) continue;
    const { status } = look.run(id);
    if (shape.height) box(bodyColour(node, look.theme), left, top + shape.title, right - left, bottom - top - shape.title);
    box(status === "error" ? look.theme.bad : status === "running" ? look.theme.busy : headColour(node, look.theme), left, top, right - left, shape.title || bottom - top);
    if (look.selected.has(id)) rings.push(left, top, right - left, bottom - top);
    if (shape.media) pictures.push(items[i]);
  }
  for (const [colour, list] of boxes) {
    ctx.fillStyle = colour;
    ctx.beginPath();
    for (let i = 0; i < list.length; i += 4) ctx.rect(list[i], list[i + 1], list[i + 2], list[i + 3]);
    ctx.fill();
  }
  if (!look.moving || items.length < FEW) paintNames(ctx, camera.scale, items, look);
  for (const { id, node, shape } of pictures) {
    const { y, height } = /** @type {import("./layout.js").Row} */ (shape.media);
    paintPicture(ctx, [node.pos[0] + 6, node.pos[1] + y, shape.width - 12, height], look.picture(id), look.theme);
  }
  if (rings.length) {
    ctx.strokeStyle = look.theme.accent;
    ctx.lineWidth = 2 / camera.scale;
    ctx.beginPath();
    for (let i = 0; i < rings.length; i += 4) ctx.rect(rings[i], rings[i + 1], rings[i + 2], rings[i + 3]);
    ctx.stroke();
  }
}

/** Names of nodes from afar, where they are wide enough for some letters of the size one reads. @param {CanvasRenderingContext2D} ctx @param {number} scale @param {readonly Item[]} items @param {Look} look */
function paintNames(ctx, scale, items, look) {
  const size = 11 / scale;
  /** @type {[string, number, number][]} */
  const names = [];
  ctx.font = `600 11px ${FONT}`; // measured at one size, whatever the zoom
  for (const { id, face, shape, bounds: [left, top, right, bottom] } of items) {
    const width = (right - left) * scale;
    if (width < NAMED || (bottom - top - shape.title) * scale < 16 || shape.media || look.mounted(id)) continue;
    names.push([cut(ctx, face.title, width - 11), left + size / 2, top + shape.title + size * 0.9]);
  }
  ctx.fillStyle = look.theme.soft;
  ctx.font = `600 ${size}px ${FONT}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  for (const [name, x, y] of names) ctx.fillText(name, x, y);
}

/** How round the corners of a node are, from the upper left one on. @param {import("../core/records.js").NodeRecord} node @returns {readonly [number, number, number, number]} */
export function cornersOf({ shape }) {
  return shape === 1 ? [0, 0, 0, 0] : shape === 4 ? [8, 0, 8, 0] : [8, 8, 8, 8];
}

/** @param {import("../core/records.js").NodeRecord} node @param {Theme} theme */
export function bodyColour(node, theme) {
  return (node.bgcolor && tone(node.bgcolor, theme.dark, "body")) || theme.node;
}

/** @param {import("../core/records.js").NodeRecord} node @param {Theme} theme */
export function headColour(node, theme) {
  return (node.color && tone(node.color, theme.dark, "head")) || theme.head;
}

/**
 * One node with everything on it.
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} scale
 * @param {Item} item
 * @param {Look} look
 */
export function paintNode(ctx, scale, item, look) {
  const { id, node, face, shape, bounds: [left, top, right] } = item;
  const { theme } = look;
  const [x, y] = node.pos;
  const width = right - left;
  const total = shape.title + shape.height;
  const run = look.run(id);
  const off = node.mode === MUTED || node.mode === BYPASSED;
  ctx.globalAlpha = look.dims?.(item) ? 0.35 : off ? 0.5 : 1;
  ctx.fillStyle = bodyColour(node, theme);
  ctx.beginPath();
  const corners = cornersOf(node);
  ctx.roundRect(left, top, width, total, /** @type {number[]} */ (/** @type {unknown} */ (corners)));
  ctx.fill();
  if (shape.title && shape.height) {
    ctx.fillStyle = headColour(node, theme);
    ctx.beginPath();
    ctx.roundRect(left, top, width, shape.title, [corners[0], corners[1], 0, 0]);
    ctx.fill();
  }
  const chosen = look.selected.has(id);
  ctx.beginPath();
  ctx.roundRect(left, top, width, total, /** @type {number[]} */ (/** @type {unknown} */ (corners)));
  ctx.lineWidth = chosen ? 2 / Math.min(1, scale) : 1;
  ctx.strokeStyle = run.status === "error" ? theme.bad : run.status === "running" ? theme.busy : chosen ? theme.accent : face.kind === "ghost" ? theme.bad : theme.edge;
  if (face.kind === "ghost") ctx.setLineDash([6, 4]);
  ctx.stroke();
  ctx.setLineDash([]);
  if (run.status === "running" && run.progress) {
    ctx.fillStyle = theme.busy;
    ctx.fillRect(left, top + shape.title - 3, (width * run.progress[0]) / Math.max(1, run.progress[1]), 3);
  }
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  if (shape.title) {
    ctx.fillStyle = theme.ink;
    ctx.font = `600 14px ${FONT}`;
    ctx.fillText(cut(ctx, face.title, width - 24), left + 12, top + shape.title / 2);
  }
  if (!shape.collapsed) {
    ctx.font = `12px ${FONT}`;
    const words = scale >= (look.moving ? READABLE_MOVING : READABLE);
    ctx.fillStyle = theme.soft;
    if (words && shape.title) {
      shape.inputs.forEach((socket, i) => ctx.fillText(cut(ctx, face.inputs[i].label, width * 0.55), x + 14, y + socket.y));
      ctx.textAlign = "right";
      shape.outputs.forEach((socket, i) => ctx.fillText(cut(ctx, face.outputs[i].label, width * 0.55), x + socket.x - 14, y + socket.y));
      ctx.textAlign = "left";
    }
    ctx.fillStyle = theme.field;
    ctx.beginPath();
    for (const row of shape.widgets) words ? ctx.roundRect(x + 10, y + row.y, width - 20, row.height, 5) : ctx.rect(x + 10, y + row.y, width - 20, row.height);
    ctx.fill();
    if (words) shape.widgets.forEach((row, i) => paintWidget(ctx, [x + 10, y + row.y, width - 20, row.height], face.widgets[i], theme));
    if (shape.more && words) {
      ctx.fillStyle = theme.soft;
      ctx.fillText(moreWords(face), x + 18, y + shape.more.y + shape.more.height / 2);
    }
    if (shape.media) paintPicture(ctx, [x + 6, y + shape.media.y, width - 12, shape.media.height], look.picture(id), theme);
  }
  for (const side of /** @type {const} */ (["inputs", "outputs"])) {
    let last = "";
    shape[side].forEach((socket, i) => {
      const colour = colourOf(face[side][i].type, theme.dark);
      if (colour !== last) {
        if (last) ctx.fill();
        ctx.fillStyle = last = colour;
        ctx.beginPath();
      }
      ctx.moveTo(x + socket.x + 5, y + socket.y);
      ctx.arc(x + socket.x, y + socket.y, 5, 0, 7);
    });
    if (last) ctx.fill();
  }
  ctx.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} ctx @param {readonly [number, number, number, number]} rect @param {import("./face.js").FaceWidget} widget @param {Theme} theme */
function paintWidget(ctx, rect, widget, theme) {
  const [x, y, w, h] = rect;
  const own = kind(kindOf(widget.input))?.paint;
  if (own) {
    ctx.save();
    own(ctx, rect, widget.value, widget.label);
    ctx.restore();
    return;
  }
  const value = widget.fed ? "linked" : typeof widget.value === "string" ? widget.value : JSON.stringify(widget.value) ?? "";
  if (h > LINE * 1.5) {
    ctx.fillStyle = theme.ink;
    paintText(ctx, value, x + 6, y + 10, w - 12, Math.floor((h - 6) / 15));
    return;
  }
  ctx.fillStyle = theme.soft;
  const label = cut(ctx, widget.label, w * 0.5);
  ctx.fillText(label, x + 8, y + h / 2);
  ctx.fillStyle = theme.ink;
  ctx.textAlign = "right";
  ctx.fillText(cut(ctx, value, w - 24 - ctx.measureText(label).width), x + w - 8, y + h / 2);
  ctx.textAlign = "left";
}

/** Text broken into lines where it must be. @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} x @param {number} y @param {number} width @param {number} most */
function paintText(ctx, text, x, y, width, most) {
  let line = "";
  let lines = 0;
  for (const word of text.slice(0, 1200).split(/(\s+)/)) {
    const breaks = word.includes("\n");
    if (breaks || (line && ctx.measureText(line + word).width > width)) {
      ctx.fillText(line, x, y + 15 * lines, width);
      if (++lines >= most) return;
      line = breaks ? "" : word.trimStart();
    } else line += word;
  }
  ctx.fillText(line, x, y + 15 * lines, width);
}

/** @param {CanvasRenderingContext2D} ctx @param {readonly [number, number, number, number]} rect @param {ImageBitmap | null} bitmap @param {Theme} theme */
function paintPicture(ctx, [x, y, w, h], bitmap, theme) {
  if (!bitmap) {
    ctx.fillStyle = theme.field;
    ctx.fillRect(x, y, w, h);
    return;
  }
  const scale = Math.min(w / bitmap.width, h / bitmap.height);
  const [dw, dh] = [bitmap.width * scale, bitmap.height * scale];
  ctx.drawImage(bitmap, x + (w - dw) / 2, y + (h - dh) / 2, dw, dh);
}

/** @type {Map<string, string>} */
const cuts = new Map();

/** A text that fits, with an ellipsis where it was cut. Measuring is dear, so results are kept. @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} width */
export function cut(ctx, text, width) {
  if (text.length * 13 < width) return text;
  const key = `${ctx.font}\n${Math.round(width)}\n${text}`;
  let kept = cuts.get(key);
  if (kept === undefined) {
    kept = text;
    if (ctx.measureText(text).width > width) {
      let [low, high] = [0, text.length];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (ctx.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
        else high = middle - 1;
      }
      kept = `${text.slice(0, low)}…`;
    }
    if (cuts.size > 4000) cuts.clear();
    cuts.set(key, kept);
  }
  return kept;
}
export { TITLE };
