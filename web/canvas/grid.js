// Which boxes lie in a region: a hash of square cells. What is larger than a few cells lies in a list of its own.

/** @typedef {readonly [number, number, number, number]} Bounds  left, top, right, bottom */

const CELL = 800;
const MOST_CELLS = 48;

/**
 * @template K
 */
export class Grid {
  /** @type {Map<string, Set<K>>} */
  #cells = new Map();
  /** @type {Map<K, Bounds>} */
  #bounds = new Map();
  /** @type {Set<K>} */
  #large = new Set();

  get size() {
    return this.#bounds.size;
  }

  /** Add a box or move it. @param {K} key @param {Bounds} bounds */
  put(key, bounds) {
    const old = this.#bounds.get(key);
    if (old && sameCells(old, bounds)) {
      this.#bounds.set(key, bounds);
      return;
    }
    if (old) this.remove(key);
    this.#bounds.set(key, bounds);
    const [left, top, right, bottom] = cellsOf(bounds);
    if ((right - left + 1) * (bottom - top + 1) > MOST_CELLS) {
      this.#large.add(key);
      return;
    }
    for (let x = left; x <= right; x++) {
      for (let y = top; y <= bottom; y++) {
        const name = `${x},${y}`;
        const cell = this.#cells.get(name);
        if (cell) cell.add(key);
        else this.#cells.set(name, new Set([key]));
      }
    }
  }

  /** @param {K} key */
  remove(key) {
    const bounds = this.#bounds.get(key);
    if (!bounds) return;
    this.#bounds.delete(key);
    if (this.#large.delete(key)) return;
    const [left, top, right, bottom] = cellsOf(bounds);
    for (let x = left; x <= right; x++) {
      for (let y = top; y <= bottom; y++) {
        const name = `${x},${y}`;
        const cell = this.#cells.get(name);
        cell?.delete(key);
        if (cell?.size === 0) this.#cells.delete(name);
      }
    }
  }

  clear() {
    this.#cells.clear();
    this.#bounds.clear();
    this.#large.clear();
  }

  /**
   * Everything that touches a region, in no order.
   * @param {Bounds} region
   * @returns {K[]}
   */
  touching(region) {
    const [left, top, right, bottom] = cellsOf(region);
    /** @type {K[]} */
    const found = [];
    if ((right - left + 1) * (bottom - top + 1) > this.#cells.size) {
      for (const [key, bounds] of this.#bounds) if (touch(bounds, region)) found.push(key);
      return found;
    }
    for (const key of this.#large) if (touch(/** @type {Bounds} */ (this.#bounds.get(key)), region)) found.push(key);
    const seen = new Set();
    for (let x = left; x <= right; x++) {
      for (let y = top; y <= bottom; y++) {
        for (const key of this.#cells.get(`${x},${y}`) ?? []) {
          if (seen.has(key)) continue;
          seen.add(key);
          if (touch(/** @type {Bounds} */ (this.#bounds.get(key)), region)) found.push(key);
        }
      }
    }
    return found;
  }
}

/** @param {Bounds} a @param {Bounds} b */
export function touch(a, b) {
  return a[0] <= b[2] && a[2] >= b[0] && a[1] <= b[3] && a[3] >= b[1];
}

/** @param {Bounds} bounds */
function cellsOf([left, top, right, bottom]) {
  return [Math.floor(left / CELL), Math.floor(top / CELL), Math.floor(right / CELL), Math.floor(bottom / CELL)];
}

/** @param {Bounds} a @param {Bounds} b */
function sameCells(a, b) {
  const [one, other] = [cellsOf(a), cellsOf(b)];
  return one.every((value, i) => value === other[i]);
}
