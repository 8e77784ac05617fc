// How well what somebody typed fits a text: every letter in order, better at the start of words and in a row.

/** @param {string} query @param {string} text @returns {number} 0 does not fit */
export function fits(query, text) {
  const wanted = query.toLowerCase().replace(/\s+/g, "");
  const there = text.toLowerCase();
  if (!wanted) return 1;
  const whole = there.indexOf(query.trim().toLowerCase());
  if (whole >= 0) return 1000 - whole - text.length / 100;
  let at = -1;
  let score = 1;
  for (const letter of wanted) {
    const next = there.indexOf(letter, at + 1);
    if (next < 0) return 0;
    score += next === at + 1 ? 6 : /[\s/_.:-]/.test(there[next - 1] ?? " ") ? 4 : 1;
    at = next;
  }
  return score - text.length / 100;
}

/**
 * @template T
 * @param {string} query @param {readonly T[]} items @param {(item: T) => string} text
 * @returns {T[]} those that fit, best first
 */
export function ranked(query, items, text) {
  if (!query.trim()) return [...items];
  return items
    .map((item) => ({ item, score: fits(query, text(item)) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score)
    .map(({ item }) => item);
}
