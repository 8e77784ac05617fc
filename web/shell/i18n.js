// Words in the person's language. The English sentence is its own key, so that code reads as the page does.

/** @type {Readonly<Record<string, string>>} */
let words = {};
let current = "en";

/** Languages the page speaks besides English: a file each in web/i18n/. */
export const LANGUAGES = Object.freeze([
  { value: "en", title: "English" },
  { value: "de", title: "Deutsch" },
]);

/**
 * @param {string} text  in English; `{name}` stands for a value
 * @param {Readonly<Record<string, unknown>>} [values]
 */
export function t(text, values) {
  const said = words[text] ?? text;
  return values ? said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole)) : said;
}

export function language() {
  return current;
}

/** The language to begin with: the one chosen, else the browser's if we speak it. @param {unknown} chosen */
export function preferred(chosen) {
  const known = LANGUAGES.map(({ value }) => value);
  return known.find((each) => each === chosen) ?? navigator.languages.map((each) => each.split("-")[0]).find((each) => known.includes(each)) ?? "en";
}

/** @param {string} wanted */
export async function speak(wanted) {
  if (wanted !== "en" && LANGUAGES.some(({ value }) => value === wanted)) {
    const response = await fetch(new URL(`../i18n/${wanted}.json`, import.meta.url));
    if (response.ok) {
      words = await response.json();
      current = wanted;
    }
  }
  document.documentElement.lang = current;
}

/** "12 s", "3 min 20 s" @param {number} seconds */
export function duration(seconds) {
  if (seconds < 10) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** @param {number} bytes */
export function bytes(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** How long ago, or the date. @param {number} ms since 1970 */
export function ago(ms) {
  const seconds = (Date.now() - ms) / 1000;
  if (seconds < 60) return t("just now");
  if (seconds < 3600) return t("{n} min ago", { n: Math.floor(seconds / 60) });
  if (seconds < 86400) return t("{n} h ago", { n: Math.floor(seconds / 3600) });
  return new Date(ms).toLocaleDateString(current);
}
