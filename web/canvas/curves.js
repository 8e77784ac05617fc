// The way a link takes: one curve from each point it passes to the next. Pure geometry; a curve is [x0, y0, c0x, c0y, c1x, c1y, x1, y1].

/** @typedef {readonly [number, number]} Point */
/** @typedef {readonly number[]} Curve */
/** @typedef {import("./grid.js").Bounds} Bounds */

const SAMPLES = 16;

/**
 * @param {readonly Point[]} points  where it starts, the reroutes it passes, where it ends
 * @returns {Curve[]}
 */
export function curvesThrough(points) {
  /** @type {Curve[]} */
  const curves = [];
  for (let i = 1; i < points.length; i++) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    const reach = Math.min(Math.max(Math.abs(x1 - x0) * 0.5, Math.hypot(x1 - x0, y1 - y0) * 0.25), 240);
    curves.push([x0, y0, x0 + reach, y0, x1 - reach, y1, x1, y1]);
  }
  return curves;
}

/** A box that holds the curves. @param {readonly Curve[]} curves @returns {Bounds} */
export function boundsOf(curves) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const curve of curves) {
    for (let i = 0; i < 8; i += 2) {
      left = Math.min(left, curve[i]);
      right = Math.max(right, curve[i]);
      top = Math.min(top, curve[i + 1]);
      bottom = Math.max(bottom, curve[i + 1]);
    }
  }
  return [left, top, right, bottom];
}

/** A point of a curve. @param {Curve} c @param {number} t  0 to 1 @returns {[number, number]} */
export function pointAt(c, t) {
  const u = 1 - t;
  const [a, b, d, e] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return [a * c[0] + b * c[2] + d * c[4] + e * c[6], a * c[1] + b * c[3] + d * c[5] + e * c[7]];
}

/** How far a point is from a curve, within a percent or two. @param {Curve} curve @param {number} x @param {number} y */
export function distanceTo(curve, x, y) {
  let nearest = Infinity;
  let [px, py] = pointAt(curve, 0);
  for (let i = 1; i <= SAMPLES; i++) {
    const [qx, qy] = pointAt(curve, i / SAMPLES);
    nearest = Math.min(nearest, toSegment(x, y, px, py, qx, qy));
    [px, py] = [qx, qy];
  }
  return nearest;
}

/** The middle of a link. @param {readonly Curve[]} curves @returns {[number, number]} */
export function middleOf(curves) {
  const curve = curves[(curves.length - 1) >> 1];
  return pointAt(curve, curves.length % 2 ? 0.5 : 1);
}

/** @param {number} x @param {number} y @param {number} ax @param {number} ay @param {number} bx @param {number} by */
function toSegment(x, y, ax, ay, bx, by) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}
