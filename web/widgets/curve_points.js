// Curves through points, from (0, 0) to (1, 1): reading, changing and sampling them. No page.

/** @typedef {readonly [number, number]} Point */

export const STRAIGHT = /** @type {readonly Point[]} */ (Object.freeze([Object.freeze(/** @type {Point} */ ([0, 0])), Object.freeze(/** @type {Point} */ ([1, 1]))]));

/** The points of a value, from left to right: a list of pairs, or an object that holds one. @param {unknown} value @returns {readonly Point[]} */
export function pointsOf(value) {
  const listed = Array.isArray(value) ? value : typeof value === "object" && value !== null ? /** @type {{points?: unknown}} */ (value).points : null;
  if (!Array.isArray(listed)) return STRAIGHT;
  const points = listed.flatMap((each) => {
    const [x, y] = Array.isArray(each) ? each : typeof each === "object" && each !== null ? [each.x, each.y] : [];
    return Number.isFinite(x) && Number.isFinite(y) ? [/** @type {Point} */ ([unit(x), unit(y)])] : [];
  });
  return points.length > 1 ? points.sort((a, b) => a[0] - b[0]) : STRAIGHT;
}

/** The value with other points, in the form it had. @param {unknown} value @param {readonly Point[]} points */
export function withPoints(value, points) {
  const rounded = points.map(([x, y]) => [Number(x.toFixed(4)), Number(y.toFixed(4))]);
  if (Array.isArray(value)) return rounded;
  return { interpolation: "monotone_cubic", ...(typeof value === "object" && value !== null ? value : {}), points: rounded };
}

/** @param {number} value */
function unit(value) {
  return Math.min(1, Math.max(0, value));
}

/** Move a point between its neighbours; the ends stay at the ends. @param {readonly Point[]} points @param {number} at @param {number} x @param {number} y @returns {Point[]} */
export function moved(points, at, x, y) {
  const low = at === 0 ? points[0][0] : points[at - 1][0] + 0.001;
  const high = at === points.length - 1 ? points[at][0] : points[at + 1][0] - 0.001;
  return points.map((point, i) => (i === at ? [at === 0 || at === points.length - 1 ? point[0] : Math.min(high, Math.max(low, x)), unit(y)] : point));
}

/**
 * How high a curve is at a place: cubic pieces that never overshoot their points (Fritsch and Carlson 1980), or straight ones.
 * @param {readonly Point[]} points  from left to right
 * @param {number} x
 * @param {boolean} [straight]
 */
export function heightAt(points, x, straight = false) {
  const last = points.length - 1;
  if (x <= points[0][0]) return points[0][1];
  if (x >= points[last][0]) return points[last][1];
  const k = points.findIndex((point, i) => i < last && x < points[i + 1][0]);
  const [[x0, y0], [x1, y1]] = [points[k], points[k + 1]];
  const width = x1 - x0;
  const t = (x - x0) / width;
  if (straight) return y0 + (y1 - y0) * t;
  const [a, b] = [tangent(points, k), tangent(points, k + 1)];
  const [t2, t3] = [t * t, t * t * t];
  return y0 * (2 * t3 - 3 * t2 + 1) + a * width * (t3 - 2 * t2 + t) + y1 * (3 * t2 - 2 * t3) + b * width * (t3 - t2);
}

/** The slope at a point: the harmonic mean of those beside it, flat at a turn. @param {readonly Point[]} points @param {number} i */
function tangent(points, i) {
  /** @param {number} k */
  const slope = (k) => (points[k + 1][1] - points[k][1]) / (points[k + 1][0] - points[k][0]);
  if (i === 0) return slope(0);
  if (i === points.length - 1) return slope(i - 1);
  const [before, after] = [slope(i - 1), slope(i)];
  return before * after <= 0 ? 0 : (2 * before * after) / (before + after);
}
