// Finding names by a few of their letters.

/** @typedef {{score: number, at: readonly number[]}} Match  `at`: the letters of the text that were meant */

/**
 * Whether the letters of a query appear in a text in this order, and how well: at the start of words and in a row is better.
 * @param {string} query
 * @param {string} text
 * @returns {Match | null}
 */
export function match(query, text) {
  if (query === "") return { score: 0, at: [] };
  const wanted = query.toLowerCase();
  const lower = text.toLowerCase();
  const straight = lower.indexOf(wanted);
  if (straight >= 0) {
    const at = Array.from(wanted, (_, i) => straight + i);
    return { score: 200 + (startsWord(text, straight) ? 60 : 0) + (straight === 0 ? 40 : 0) - text.length * 0.2, at };
  }
  /** @type {number[]} */
  const at = [];
  let score = 0;
  let from = 0;
  for (const letter of wanted) {
    if (letter === " ") continue;
    const found = best(text, lower, letter, from, at.at(-1) ?? -2);
    if (found < 0) return null;
    score += found === (at.at(-1) ?? -2) + 1 ? 12 : startsWord(text, found) ? 10 : 1;
    at.push(found);
    from = found + 1;
  }
  return { score: score - text.length * 0.2 - (at[at.length - 1] - at[0]) * 0.3, at };
}

/** The next place of a letter: right after the last one, else the nearest start of a word, else the nearest. @param {string} text @param {string} lower @param {string} letter @param {number} from @param {number} last */
function best(text, lower, letter, from, last) {
  if (lower[last + 1] === letter && last + 1 >= from) return last + 1;
  const nearest = lower.indexOf(letter, from);
  for (let i = nearest; i >= 0; i = lower.indexOf(letter, i + 1)) if (startsWord(text, i)) return i;
  return nearest;
}

/** @param {string} text @param {number} i */
function startsWord(text, i) {
  if (i === 0) return true;
  const [before, now] = [text[i - 1], text[i]];
  return !/[\p{L}\p{N}]/u.test(before) || (/\p{Lu}/u.test(now) && !/\p{Lu}/u.test(before)) || (/\p{N}/u.test(now) && !/\p{N}/u.test(before));
}

/**
 * The best of a list, best first. Every word of the query must be found in one of the texts; the first text counts most.
 * @template T
 * @param {string} query
 * @param {readonly T[]} list
 * @param {(each: T) => readonly string[]} texts
 * @param {number} [most]
 * @returns {{item: T, score: number, at: readonly number[]}[]} `at`: in the first text
 */
export function rank(query, list, texts, most = 60) {
  const words = query.trim().split(/\s+/).filter(Boolean);
  /** @type {{item: T, score: number, at: readonly number[]}[]} */
  const found = [];
  for (const item of list) {
    const its = texts(item);
    const whole = match(query.trim(), its[0]);
    let score = whole ? whole.score + 20 : 0;
    let at = whole?.at ?? [];
    if (!whole) {
      let all = true;
      for (const word of words) {
        let bestOf = -Infinity;
        its.forEach((text, i) => {
          const m = match(word, text);
          if (m && m.score - i * 25 > bestOf) {
            bestOf = m.score - i * 25;
            if (i === 0) at = [...at, ...m.at];
          }
        });
        if (bestOf === -Infinity) {
          all = false;
          break;
        }
        score += bestOf / words.length;
      }
      if (!all) continue;
    }
    found.push({ item, score, at });
  }
  return found.sort((a, b) => b.score - a.score).slice(0, most);
}
