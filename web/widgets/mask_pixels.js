// The arithmetic of masks, without a page.

/**
 * Mask everything that can be reached from a point without crossing what is masked already.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} image  changed in place; alpha is the mask
 * @param {number} x
 * @param {number} y
 */
export function flood({ data, width, height }, x, y) {
  if (x < 0 || y < 0 || x >= width || y >= height || data[4 * (y * width + x) + 3] > 127) return;
  const waiting = [y * width + x];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (data[4 * at + 3] > 127) continue;
    let left = at % width;
    const row = at - left;
    let right = left;
    while (left > 0 && data[4 * (row + left - 1) + 3] <= 127) left--;
    while (right < width - 1 && data[4 * (row + right + 1) + 3] <= 127) right++;
    for (let i = left; i <= right; i++) {
      data.set([255, 255, 255, 255], 4 * (row + i));
      if (row > 0 && data[4 * (row - width + i) + 3] <= 127) waiting.push(row - width + i);
      if (row + width < width * height && data[4 * (row + width + i) + 3] <= 127) waiting.push(row + width + i);
    }
  }
}

/**
 * Soft edges: three box blurs in a row, which come close to a Gaussian.
 * @param {Float32Array} values  0 to 255, row by row
 * @param {number} width
 * @param {number} height
 * @param {number} radius  in pixels; 0 leaves it as it is
 * @returns {Float32Array}
 */
export function feather(values, width, height, radius) {
  const reach = Math.round(radius / 2);
  if (reach < 1) return values;
  let now = values;
  for (let pass = 0; pass < 3; pass++) {
    now = blurred(now, width, height, 1, width, reach);
    now = blurred(now, height, width, width, 1, reach);
  }
  return now;
}

/** One blur along rows of `length` (steps of `step`); rows begin every `next`. @param {Float32Array} from @param {number} length @param {number} rows @param {number} step @param {number} next @param {number} reach */
function blurred(from, length, rows, step, next, reach) {
  const to = new Float32Array(from.length);
  const window_ = 2 * reach + 1;
  for (let row = 0; row < rows; row++) {
    const start = row * next;
    /** @param {number} i */
    const at = (i) => from[start + step * Math.min(length - 1, Math.max(0, i))];
    let sum = 0;
    for (let i = -reach; i <= reach; i++) sum += at(i);
    for (let i = 0; i < length; i++) {
      to[start + step * i] = sum / window_;
      sum += at(i + reach + 1) - at(i - reach);
    }
  }
  return to;
}
