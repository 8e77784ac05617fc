// What scripts of node packs ask for that this editor cannot give: by file, with the reason, so that a person knows what is missing.

/** @typedef {{file: string, state: "running" | "loaded" | "failed", reasons: string[], extensions: string[]}} Script */

/** @type {Map<string, Script>} */
export const scripts = new Map();

/** Things that only make sense where one canvas draws every node, by what their source looks like. @type {readonly [RegExp, string][]} */
const HOPELESS = [
  [/LGraphCanvas\.prototype\.\w+\s*=(?!=)/, "replaces a part of another canvas (LGraphCanvas.prototype); nodes here are elements of the page, so it has no effect"],
  [/LGraphNode\.prototype\.(draw|computeSize|collapse|getTitle)\w*\s*=(?!=)/, "replaces how every node is drawn or measured; here the editor lays nodes out itself"],
  [/\bapp\.canvas\.(draw|drawNode|drawNodeShape|processMouse\w+|processKey|renderLink|drawBackCanvas|onDraw\w+)\b/, "draws on or listens to the whole canvas (app.canvas); only the canvas of a node is given"],
  [/extends\s+(LiteGraph\.)?LGraphGroup|LGraphGroup\.prototype/, "changes groups; groups are not objects of scripts here"],
];

/** @param {string} file */
export function scriptOf(file) {
  let script = scripts.get(file);
  if (!script) {
    script = { file, state: "running", reasons: [], extensions: [] };
    scripts.set(file, script);
  }
  return script;
}

/** Look for what cannot work before a script runs. @param {string} file @param {string} source */
export function inspect(file, source) {
  const code = source.replace(/\/\*[\s\S]*?\*\/|(^|[^:])\/\/.*$/gm, "$1");
  for (const [pattern, reason] of HOPELESS) if (pattern.test(code)) note(file, reason);
}

/** @param {string} file @param {string} reason */
export function note(file, reason) {
  const { reasons } = scriptOf(file);
  if (!reasons.includes(reason)) reasons.push(reason);
}

/** Say that something was asked for that is not here; the asking file is read from the stack. @param {string} what */
export function missing(what) {
  const file = askingFile();
  if (file) note(file, `asks for ${what}, which is not here`);
}

/** The script that is on the stack, or null. */
export function askingFile() {
  return /\/extensions\/[^\s:?)]+\.js/.exec(new Error().stack ?? "")?.[0] ?? null;
}

/**
 * An object that answers unknown names with undefined and remembers who asked for them.
 * @template {object} T
 * @param {T} known
 * @param {string} name
 * @returns {T}
 */
export function watched(known, name) {
  return new Proxy(known, {
    get(target, key, receiver) {
      if (key in target || typeof key === "symbol" || key === "then" || key === "toJSON") return Reflect.get(target, key, receiver);
      missing(`${name}.${key}`);
      return undefined;
    },
  });
}
