// Keys as a person reads them.

import { t } from "./i18n.js";

const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
/** @type {Readonly<Record<string, string>>} */
const NAMES = { ctrl: MAC ? "⌘" : "Ctrl", alt: MAC ? "⌥" : "Alt", shift: MAC ? "⇧" : "Shift", up: "↑", down: "↓", left: "←", right: "→", plus: "+", escape: "Esc", delete: "Del", space: "Space", pagedown: "PgDn", pageup: "PgUp", enter: "Enter" };

/** "ctrl+shift+z" as "Ctrl+Shift+Z" @param {string} key */
export function shownKey(key) {
  return key.split("+").map((part) => (NAMES[part] ? t(NAMES[part]) : part.length === 1 ? part.toUpperCase() : part[0].toUpperCase() + part.slice(1))).join(MAC ? "" : "+");
}

/** The first of several keys. @param {readonly string[]} keys */
export function shownKeys(keys) {
  return keys.length ? shownKey(keys[0]) : "";
}
