// A curve: drag its points, click twice to add one, Delete takes one away; arrows move the one with the focus.

import { make } from "../canvas/dom.js";
import { t } from "../shell/i18n.js";
import { heightAt, moved, pointsOf, withPoints } from "./curve_points.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

const SVG = "http://www.w3.org/2000/svg";
const SAMPLES = 64;
const EDGE = 6;

/** @param {unknown} value */
function isStraight(value) {
  return typeof value === "object" && value !== null && /** @type {{interpolation?: unknown}} */ (value).interpolation === "linear";
}

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  host.dataset.tall = "";
  const box = make("div", "curve", null, { role: "group", "aria-label": context.label, "data-own-pointer": "" });
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "polyline");
  svg.append(line);
  const name = make("span", "curve-name", context.label);
  box.append(svg, name);
  host.append(box);
  /** @type {HTMLButtonElement[]} */
  let knobs = [];
  /** @param {readonly import("./curve_points.js").Point[]} points */
  const set = (points) => context.set(withPoints(context.value, points), { merge: true });
  const place = () => {
    const points = pointsOf(context.value);
    const straight = isStraight(context.value);
    const [w, h] = [Math.max(1, box.clientWidth - 2 * EDGE), Math.max(1, box.clientHeight - 2 * EDGE)];
    const first = points[0][0];
    const span = points[points.length - 1][0] - first;
    line.setAttribute("points", Array.from({ length: SAMPLES + 1 }, (_, i) => first + (span * i) / SAMPLES).map((x) => `${EDGE + x * w},${EDGE + (1 - heightAt(points, x, straight)) * h}`).join(" "));
    if (knobs.length !== points.length) {
      for (const knob of knobs) knob.remove();
      knobs = points.map((_, i) => knobAt(i));
      box.append(...knobs);
    }
    points.forEach(([x, y], i) => {
      knobs[i].style.left = `${EDGE + x * w}px`;
      knobs[i].style.top = `${EDGE + (1 - y) * h}px`;
      knobs[i].setAttribute("aria-label", t("Point {n}: {x}, {y}", { n: i + 1, x: x.toFixed(2), y: y.toFixed(2) }));
      knobs[i].disabled = context.fed;
    });
  };
  /** @param {PointerEvent | MouseEvent} event @returns {[number, number]} */
  const at = (event) => {
    const rect = box.getBoundingClientRect();
    const scale = rect.width / Math.max(1, box.clientWidth);
    const [w, h] = [rect.width - 2 * EDGE * scale, rect.height - 2 * EDGE * scale];
    return [(event.clientX - rect.left - EDGE * scale) / w, 1 - (event.clientY - rect.top - EDGE * scale) / h];
  };
  /** @param {number} i */
  const remove = (i) => {
    const points = pointsOf(context.value);
    if (i === 0 || i === points.length - 1) return;
    set(points.filter((_, k) => k !== i));
    context.seal();
    knobs[Math.max(0, i - 1)]?.focus();
  };
  /** @param {number} i */
  const knobAt = (i) => {
    const knob = make("button", "knob", null, { type: "button", title: t("Drag; Delete takes it away") });
    knob.addEventListener("pointerdown", (down) => {
      if (down.button !== 0 || context.fed) return;
      knob.setPointerCapture(down.pointerId);
      const move = (/** @type {PointerEvent} */ event) => set(moved(pointsOf(context.value), i, ...at(event)));
      knob.addEventListener("pointermove", move);
      for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) knob.addEventListener(end, () => {
        knob.removeEventListener("pointermove", move);
        context.seal();
      }, { once: true });
    });
    knob.addEventListener("keydown", (event) => {
      const points = pointsOf(context.value);
      const step = event.shiftKey ? 0.1 : 0.01;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
      if (by) set(moved(points, i, points[i][0] + by[0], points[i][1] + by[1]));
      else if (event.key === "Delete" || event.key === "Backspace") remove(i);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    knob.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation();
      remove(i);
    });
    return knob;
  };
  box.addEventListener("dblclick", (event) => {
    event.stopPropagation();
    if (context.fed || knobs.includes(/** @type {HTMLButtonElement} */ (event.target))) return;
    const [x, y] = at(event);
    const points = pointsOf(context.value);
    if (x <= points[0][0] || x >= points[points.length - 1][0]) return;
    set([...points, /** @type {[number, number]} */ ([x, Math.min(1, Math.max(0, y))])].sort((a, b) => a[0] - b[0]));
    context.seal();
  });
  const observer = new ResizeObserver(place);
  observer.observe(box);
  return {
    update: place,
    destroy: () => observer.disconnect(),
  };
}

register("CURVE", {
  create,
  height: 120,
  grows: true,
  paint(ctx, [x, y, w, h], value) {
    const points = pointsOf(value);
    ctx.strokeStyle = "#8a86c4";
    ctx.lineWidth = 2;
    ctx.beginPath();
    for (let i = 0; i <= 24; i++) {
      const at = i / 24;
      const [px, py] = [x + EDGE + at * (w - 2 * EDGE), y + EDGE + (1 - heightAt(points, at, isStraight(value))) * (h - 2 * EDGE)];
      if (i) ctx.lineTo(px, py);
      else ctx.moveTo(px, py);
    }
    ctx.stroke();
  },
});
