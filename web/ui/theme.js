// Light or dark: what the system asks for until the person chooses.

export function themed(button, storage = localStorage) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => storage.getItem("theme") ?? (system.matches ? "dark" : "light");
  const show = () => {
    document.documentElement.dataset.theme = current();
    button.textContent = current() === "dark" ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => {
    storage.setItem("theme", current() === "dark" ? "light" : "dark");
    show();
  });
  system.addEventListener("change", show);
  show();
}
