// Patterns in the names of files to save that the editor fills in: %date:yyyy-MM-dd% and %Node.widget%. Others are the server's and stay.

/** Nodes whose `filename_prefix` is filled in. */
export const SAVING_NODES = new Set([
  "SaveImage", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM", "SaveAudio", "SaveGLB", "CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent",
]);

/**
 * @param {string} text
 * @param {Date} now
 * @param {(node: string, widget: string) => unknown} lookUp  the value of a widget by the name of its node; undefined when there is none
 * @returns {string}
 */
export function fillIn(text, now, lookUp) {
  return text.replace(/%([^%]+)%/g, (pattern, name) => {
    if (name.startsWith("date:")) return formatDate(name.slice("date:".length), now);
    const dot = name.indexOf(".");
    const value = dot > 0 ? lookUp(name.slice(0, dot), name.slice(dot + 1)) : undefined;
    return value === undefined || value === null ? pattern : String(value).replace(/[/?<>\\:*|"\u0000-\u001f\u007f]/g, "_");
  });
}

/**
 * @param {string} form  d, M, h, m, s, yy and yyyy; a doubled letter is padded to two digits
 * @param {Date} now
 */
export function formatDate(form, now) {
  /** @type {Record<string, number>} */
  const parts = { d: now.getDate(), M: now.getMonth() + 1, h: now.getHours(), m: now.getMinutes(), s: now.getSeconds() };
  return form.replace(/yyyy|yy|([dMhms])\1?/g, (found) => {
    if (found[0] === "y") return String(now.getFullYear()).slice(-found.length);
    return String(parts[found[0]]).padStart(found.length, "0");
  });
}
