// JSON of files. Other programs write NaN and Infinity, which JSON does not have; they are read as null.

const DEEPEST = 1000;

/** Whether brackets lie within brackets more often than a number; the parser of a browser may die of it. @param {string} text @param {number} most */
function deeperThan(text, most) {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const sign = text.charCodeAt(i);
    if (sign === 0x22) {
      for (i = text.indexOf('"', i + 1); i > 0 && escaped(text, i); i = text.indexOf('"', i + 1));
      if (i < 0) return false;
    } else if (sign === 0x5b || sign === 0x7b) {
      if (++depth > most) return true;
    } else if (sign === 0x5d || sign === 0x7d) depth--;
  }
  return false;
}

/** Whether an odd number of backslashes stands before a sign. @param {string} text @param {number} i */
function escaped(text, i) {
  let before = i;
  while (text.charCodeAt(before - 1) === 0x5c) before--;
  return (i - before) % 2 === 1;
}

/** @param {string} text @returns {any} @throws {Error} with a sentence that says where it breaks off */
export function parseJson(text) {
  const plain = text.replace(/^\ufeff/, "");
  if (deeperThan(plain, DEEPEST)) throw new Error("This file is nested too deeply to be a graph.");
  try {
    return JSON.parse(plain);
  } catch (error) {
    try {
      return JSON.parse(plain.replace(/("(?:[^"\\]|\\.)*")|-?\b(?:NaN|Infinity)\b/g, (_, string) => string ?? "null"));
    } catch {
      throw new Error(`This is not JSON: ${error instanceof Error ? error.message : error}.`, { cause: error });
    }
  }
}
