// Which of the themes in themes.css is on, or which palette over one of them: what the system asks for until the person chooses.

import { ROLES, readPalettes } from "./colour_palettes.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./colour_palettes.js").Base} Base */
/** @typedef {import("./colour_palettes.js").Palette} Palette */

const THEMES = Object.freeze([
  { value: "system", title: "As the system" },
  { value: "dark", title: "Dark" },
  { value: "light", title: "Light" },
  { value: "contrast", title: "High contrast" },
]);
const OWN = "palette:";

/** What the setting `theme` says for a palette. @param {string} name */
export const themeOf = (name) => OWN + name;

/** @param {Settings} settings */
export function followTheme(settings) {
  const light = matchMedia("(prefers-color-scheme: light)");
  const contrast = matchMedia("(prefers-contrast: more)");
  let shown = "";
  const show = () => {
    const chosen = String(settings.get("theme"));
    const palette = readPalettes(settings.get("palettes")).find(({ name }) => themeOf(name) === chosen);
    const fixed = THEMES.some(({ value }) => value === chosen) && chosen !== "system";
    const theme = palette?.base ?? (fixed ? chosen : contrast.matches ? "contrast" : light.matches ? "light" : "dark");
    const now = `${theme} ${JSON.stringify(palette?.colors)}`;
    if (now === shown) return;
    shown = now;
    wear(/** @type {Base} */ (theme), palette?.colors ?? {});
  };
  const offer = () => {
    const own = readPalettes(settings.get("palettes")).map(({ name }) => ({ value: themeOf(name), title: name }));
    settings.register({ key: "theme", title: "Theme", group: "Appearance", kind: "choice", choices: [...THEMES, ...own], default: "system" });
  };
  settings.register({ key: "palettes", title: "Colour palettes", kind: "hidden", default: [] });
  offer();
  settings.subscribe("palettes", () => (offer(), show()));
  settings.subscribe("theme", show);
  light.addEventListener("change", show);
  contrast.addEventListener("change", show);
  show();
}

/** Put a theme, and colours over it, on the page. @param {Base} base @param {Readonly<Record<string, string>>} colors */
export function wear(base, colors) {
  const root = document.documentElement;
  root.dataset.theme = base;
  for (const role of Object.keys(ROLES)) {
    if (colors[role]) root.style.setProperty(`--${role}`, colors[role]);
    else root.style.removeProperty(`--${role}`);
  }
}

/** All colours of a theme by role. @param {Base} base @returns {Record<string, string>} */
export function coloursOf(base) {
  const probe = document.createElement("div");
  probe.hidden = true;
  probe.dataset.theme = base;
  document.body.append(probe);
  const style = getComputedStyle(probe);
  const colors = Object.fromEntries(Object.keys(ROLES).map((role) => [role, style.getPropertyValue(`--${role}`).trim()]));
  probe.remove();
  return colors;
}
