// The picture in the making in a corner of the stage, and the finished one for a while.

import { el, soon } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

const SHOWN_MS = 5000;

/** @typedef {import("./app.js").App} App */

/** @param {App} app @returns {HTMLElement} */
export function createCorner(app) {
  const { centre, settings } = app;
  settings.register({ key: "corner", title: "Live picture in the corner", group: "Running", kind: "boolean", default: true });
  const image = el("img", { attributes: { alt: t("Picture in the making") } });
  const words = el("p");
  let away = "";
  /** @type {string} */
  let last = "";
  const close = el("button", { class: "small square", attributes: { type: "button", "aria-label": t("Hide the live picture") } }, icon("close", 14));
  const corner = el("div", { class: "corner", attributes: { hidden: true } }, image, words, close);
  close.addEventListener("click", () => {
    away = centre.running?.id ?? "none";
    corner.hidden = true;
  });
  const draw = soon(() => {
    const job = centre.running;
    if (!settings.get("corner") || (job && job.id === away)) {
      corner.hidden = true;
      return;
    }
    if (!job?.preview) return;
    corner.hidden = false;
    if (last !== job.preview) {
      last = job.preview;
      image.src = job.preview;
      image.dataset.preview = "";
    }
    words.textContent = centre.saying;
  });
  centre.addEventListener("jobs", draw);
  let leaving = 0;
  centre.addEventListener("ended", (event) => {
    const { job } = /** @type {CustomEvent} */ (event).detail;
    const picture = job.outputs.find((/** @type {import("../run/state.js").Output} */ { kind }) => kind === "image");
    last = "";
    delete image.dataset.preview;
    clearTimeout(leaving);
    if (picture && job.id !== away && settings.get("corner")) {
      corner.hidden = false;
      image.src = picture.url;
      words.textContent = t("Done");
      leaving = window.setTimeout(() => {
        if (!centre.running) corner.hidden = true;
      }, SHOWN_MS);
    } else corner.hidden = true;
  });
  return corner;
}
