// Which of the themes in themes.css is on: what the system asks for until the person chooses.

/** @typedef {import("./settings.js").Settings} Settings */

export const THEMES = Object.freeze([
  { value: "system", title: "As the system" },
  { value: "dark", title: "Dark" },
  { value: "light", title: "Light" },
  { value: "contrast", title: "High contrast" },
]);

/** Listeners of the page hear `themechange` on document when the colours are other ones. @param {Settings} settings */
export function followTheme(settings) {
  settings.register({ key: "theme", title: "Theme", group: "Appearance", kind: "choice", choices: THEMES, default: "system" });
  const light = matchMedia("(prefers-color-scheme: light)");
  const contrast = matchMedia("(prefers-contrast: more)");
  const show = () => {
    const chosen = settings.get("theme");
    const theme = chosen !== "system" ? chosen : contrast.matches ? "contrast" : light.matches ? "light" : "dark";
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    document.dispatchEvent(new Event("themechange"));
  };
  settings.subscribe("theme", show);
  light.addEventListener("change", show);
  contrast.addEventListener("change", show);
  show();
}
