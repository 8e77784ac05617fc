// Pictures in large: zoom with the wheel, drag to move, arrows to the next, and a slider to compare two.

import { t } from "../shell/i18n.js";
import { make } from "./dom.js";

/** @typedef {import("../run/state.js").Output} Output */

/** @param {readonly Pick<Output, "url" | "filename">[]} outputs @param {number} [at] @returns {() => void} closes it */
export function openViewer(outputs, at = 0) {
  const before = document.activeElement;
  const dialog = make("dialog", "lightbox", null, { "aria-label": t("Picture") });
  const frame = make("div", "lightbox-frame", null, { "data-own-pointer": "" });
  const image = make("img", "", null, { draggable: "false" });
  const second = make("img", "over", null, { draggable: "false", alt: "" });
  const slider = make("input", "", null, { type: "range", min: "0", max: "100", value: "50", "aria-label": t("How much of each picture") });
  const words = make("p");
  const close = make("button", "quiet", "✕", { type: "button", "aria-label": t("Close") });
  const previous = make("button", "quiet", "←", { type: "button", "aria-label": t("Picture before") });
  const next = make("button", "quiet", "→", { type: "button", "aria-label": t("Next picture") });
  const compare = make("button", "quiet", t("Compare"), { type: "button", "aria-pressed": "false" });
  const foot = make("div", "lightbox-foot");
  foot.append(previous, next, words, ...(outputs.length > 1 ? [compare] : []), slider, close);
  frame.append(image, second);
  dialog.append(frame, foot);
  let [scale, x, y, comparing] = [1, 0, 0, false];

  const place = () => {
    for (const each of [image, second]) each.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    const share = Number(slider.value);
    second.style.clipPath = `inset(0 0 0 ${share}%)`;
  };
  const show = () => {
    const one = outputs[at];
    image.src = one.url;
    image.alt = one.filename;
    second.hidden = slider.hidden = !comparing;
    if (comparing) second.src = outputs[(at + 1) % outputs.length].url;
    words.textContent = comparing ? `${one.filename} | ${outputs[(at + 1) % outputs.length].filename}` : `${one.filename} (${at + 1}/${outputs.length})`;
    previous.hidden = next.hidden = outputs.length < 2;
    compare.setAttribute("aria-pressed", String(comparing));
    place();
  };
  /** @param {number} by */
  const step = (by) => {
    at = (at + by + outputs.length) % outputs.length;
    [scale, x, y] = [1, 0, 0];
    show();
  };
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  close.addEventListener("click", () => dialog.close());
  compare.addEventListener("click", () => {
    comparing = !comparing;
    show();
  });
  slider.addEventListener("input", place);
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    const rect = frame.getBoundingClientRect();
    const [px, py] = [event.clientX - rect.left - rect.width / 2, event.clientY - rect.top - rect.height / 2];
    const grown = Math.min(20, Math.max(0.2, scale * Math.exp(-event.deltaY * 0.0015)));
    x = px - ((px - x) * grown) / scale;
    y = py - ((py - y) * grown) / scale;
    scale = grown;
    place();
  }, { passive: false });
  frame.addEventListener("pointerdown", (event) => {
    frame.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (!(event.buttons & 1)) return;
    x += event.movementX;
    y += event.movementY;
    place();
  });
  frame.addEventListener("dblclick", () => {
    [scale, x, y] = [1, 0, 0];
    place();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target === slider) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  show();
  dialog.showModal();
  return () => dialog.close();
}
