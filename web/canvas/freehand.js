// Gestures along a line drawn by hand: a lasso selects what it goes around, a knife cuts the links it crosses.

import { removeLinks } from "../core/commands/links.js";
import { t } from "../shell/i18n.js";
import { pointAt } from "./curves.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./gestures.js").Gesture} Gesture */
/** @typedef {readonly [number, number]} Point */

const SVG = "http://www.w3.org/2000/svg";
const SAMPLES = 24;

/** Whether a point lies within a closed line (even-odd). @param {readonly Point[]} line @param {number} x @param {number} y */
export function within(line, x, y) {
  let inside = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
    const [[ax, ay], [bx, by]] = [line[i], line[j]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/** Whether two stretches cross. @param {Point} a @param {Point} b @param {Point} c @param {Point} d */
export function cross(a, b, c, d) {
  /** @param {Point} p @param {Point} q @param {Point} r */
  const side = (p, q, r) => Math.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
  return side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b);
}

/** A line that is drawn, on the screen and in graph units. @param {Stage} stage @param {number} x @param {number} y @param {string} kind */
function drawn(stage, x, y, kind) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("class", kind);
  svg.append(path);
  stage.overlay.append(svg);
  /** @type {Point[]} */
  const points = [[x, y]];
  return {
    points,
    /** @param {number} px @param {number} py */
    add(px, py) {
      const [lx, ly] = points[points.length - 1];
      if (Math.hypot(px - lx, py - ly) * stage.camera.scale < 3) return;
      points.push([px, py]);
      path.setAttribute("d", `M${points.map((point) => stage.camera.toScreen(...point).join(" ")).join("L")}`);
    },
    end: () => svg.remove(),
  };
}

/** Select the nodes whose middle a line goes around. @param {Stage} stage @param {number} x0 @param {number} y0 @param {boolean} add @returns {Gesture} */
export function lasso(stage, x0, y0, add) {
  const { selection } = stage.session;
  const before = add ? selection.selected : { nodes: new Set(), groups: new Set() };
  const line = drawn(stage, x0, y0, "lasso");
  return {
    move(x, y) {
      line.add(x, y);
      const [left, top] = [Math.min(...line.points.map((point) => point[0])), Math.min(...line.points.map((point) => point[1]))];
      const [right, bottom] = [Math.max(...line.points.map((point) => point[0])), Math.max(...line.points.map((point) => point[1]))];
      const around = stage.scene.nodesIn([left, top, right, bottom]).filter(({ bounds }) => within(line.points, (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2));
      selection.set([...before.nodes, ...around.map(({ id }) => id)], before.groups);
    },
    drop() {
      line.end();
      stage.say(t("{n} nodes selected", { n: selection.selected.nodes.size }));
    },
    cancel() {
      line.end();
      selection.set(before.nodes, before.groups);
    },
  };
}

/** Cut the links a line crosses. @param {Stage} stage @param {number} x0 @param {number} y0 @returns {Gesture} */
export function knife(stage, x0, y0) {
  const line = drawn(stage, x0, y0, "knife");
  /** @type {Set<import("../core/records.js").Id>} */
  const cut = new Set();
  let done = 0;
  const end = () => {
    line.end();
    stage.hiddenWires = new Set();
    stage.invalidate();
  };
  return {
    move(x, y) {
      line.add(x, y);
      for (; done < line.points.length - 1; done++) {
        const [a, b] = [line.points[done], line.points[done + 1]];
        for (const wire of stage.scene.wiresIn([Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])])) {
          if (cut.has(wire.link.id)) continue;
          const crossed = wire.curves.some((curve) => Array.from({ length: SAMPLES }, (_, i) => i).some((i) => cross(a, b, pointAt(curve, i / SAMPLES), pointAt(curve, (i + 1) / SAMPLES))));
          if (crossed) cut.add(wire.link.id);
        }
      }
      stage.hiddenWires = new Set(cut);
      stage.invalidate();
    },
    drop() {
      end();
      if (cut.size) removeLinks(stage.session.document, stage.scene.graph, cut);
      stage.say(t("{n} links cut", { n: cut.size }));
    },
    cancel: end,
  };
}
