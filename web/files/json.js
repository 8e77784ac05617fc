// JSON of files. Other programs write NaN and Infinity, which JSON does not have; they are read as null.

/** @param {string} text @returns {any} @throws {Error} with a sentence that says where it breaks off */
export function parseJson(text) {
  const plain = text.replace(/^\ufeff/, "");
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
