// Weights in prompts: (words:1.2) count more, (words:0.8) less.

const WORD = /[^\s,()[\]{}|]/;

/**
 * The text with the weight of what is marked changed. Without a mark it is the word at the cursor, or the brackets around it.
 * @param {string} text
 * @param {number} start
 * @param {number} end
 * @param {number} by
 * @returns {{text: string, start: number, end: number} | null} null when there is nothing to weigh
 */
export function weighed(text, start, end, by) {
  if (start === end) {
    const around = brackets(text, start);
    if (around) [start, end] = [around[0] + 1, around[1]];
    else {
      while (start > 0 && WORD.test(text[start - 1])) start--;
      while (end < text.length && WORD.test(text[end])) end++;
    }
  }
  while (start < end && /\s/.test(text[start])) start++;
  while (end > start && /\s/.test(text[end - 1])) end--;
  if (start === end) return null;
  let inner = text.slice(start, end);
  let [left, right] = [start, end];
  const own = /^\((.*):(-?[\d.]+)\)$/s.exec(inner);
  const bare = /^(.*):(-?[\d.]+)$/s.exec(inner);
  const after = /^:(-?[\d.]+)\)/.exec(text.slice(end));
  let weight = 1;
  if (own) [inner, weight] = [own[1], Number(own[2])];
  else if (bare && text[start - 1] === "(" && text[end] === ")") [inner, weight, left, right] = [bare[1], Number(bare[2]), start - 1, end + 1];
  else if (after && text[start - 1] === "(") [weight, left, right] = [Number(after[1]), start - 1, end + after[0].length];
  const next = Math.round((weight + by) * 100) / 100;
  const written = next === 1 ? inner : `(${inner}:${next})`;
  const from = left + (next === 1 ? 0 : 1);
  return { text: text.slice(0, left) + written + text.slice(right), start: from, end: from + inner.length };
}

/** The innermost weighed brackets around a place. @param {string} text @param {number} at @returns {[number, number] | null} */
function brackets(text, at) {
  let depth = 0;
  for (let i = at - 1; i >= 0; i--) {
    if (text[i] === ")") depth++;
    else if (text[i] === "(" && depth-- === 0) {
      let inside = 0;
      for (let j = i + 1; j < text.length; j++) {
        if (text[j] === "(") inside++;
        else if (text[j] === ")" && inside-- === 0) return j >= at && /:-?[\d.]+$/.test(text.slice(i + 1, j)) ? [i, j] : null;
      }
      return null;
    }
  }
  return null;
}
