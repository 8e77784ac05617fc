// Drawing a mask over a picture. White on the sheet is what is masked; it is saved as the transparent part of a copy of the picture.

import { make } from "../canvas/dom.js";
import { t } from "../shell/i18n.js";
import { feather, flood } from "./mask_pixels.js";

/** @typedef {{filename: string, subfolder: string, type: string}} FileRef */
/** @typedef {"brush" | "eraser" | "fill"} Tool */

const MOST_UNDO = 30;

/**
 * @param {import("../run/api.js").Api} api
 * @param {FileRef} ref  the picture
 * @param {(ref: {name: string, subfolder: string, type: string}) => void} done  hears of the saved copy
 */
export async function openMaskEditor(api, ref, done) {
  const before = document.activeElement;
  const dialog = make("dialog", "lightbox mask-editor", null, { "aria-label": t("Draw a mask") });
  const frame = make("div", "lightbox-frame");
  const sheet = make("canvas", "sheet", null, { tabindex: "0", role: "img", "aria-label": t("The picture with its mask") });
  const ring = make("div", "ring", null, { "aria-hidden": "true" });
  const foot = make("div", "lightbox-foot");
  frame.append(sheet, ring);
  dialog.append(frame, foot);
  document.body.append(dialog);
  dialog.showModal();
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  });
  const words = make("p", "", t("Loading the picture …"), { role: "status" });
  foot.append(words);

  const image = new Image();
  image.src = api.viewUrl(ref);
  try {
    await image.decode();
  } catch {
    words.textContent = t("{name} cannot be shown, so there is nothing to draw on.", { name: ref.filename || t("This file") });
    foot.append(closer(dialog));
    return;
  }
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  sheet.width = width;
  sheet.height = height;
  const pen = /** @type {CanvasRenderingContext2D} */ (sheet.getContext("2d"));
  const mask = document.createElement("canvas");
  mask.width = width;
  mask.height = height;
  const ink = /** @type {CanvasRenderingContext2D} */ (mask.getContext("2d", { willReadFrequently: true }));
  startFromAlpha(image, ink);

  /** @type {Tool} */
  let tool = "brush";
  let size = Math.max(8, Math.round(Math.max(width, height) / 16));
  let soft = 0;
  /** @type {ImageData[]} */
  const past = [];
  /** @type {ImageData[]} */
  const future = [];
  const keep = () => {
    past.push(ink.getImageData(0, 0, width, height));
    if (past.length > MOST_UNDO) past.shift();
    future.length = 0;
  };
  /** @param {ImageData[]} from @param {ImageData[]} to */
  const step = (from, to) => {
    const state = from.pop();
    if (!state) return;
    to.push(ink.getImageData(0, 0, width, height));
    ink.putImageData(state, 0, 0);
    draw();
  };
  const draw = () => {
    pen.clearRect(0, 0, width, height);
    pen.globalAlpha = 1;
    pen.drawImage(image, 0, 0);
    pen.globalAlpha = 0.62;
    pen.drawImage(mask, 0, 0);
    pen.globalAlpha = 1;
  };

  // -- tools
  const tools = make("div", "tools", null, { role: "radiogroup", "aria-label": t("Tool") });
  for (const [name, label] of /** @type {const} */ ([["brush", t("Brush")], ["eraser", t("Eraser")], ["fill", t("Fill")]])) {
    const choice = make("label", "", label);
    const radio = make("input", "", null, { type: "radio", name: "mask-tool", value: name });
    radio.checked = name === tool;
    radio.addEventListener("change", () => (tool = name));
    choice.prepend(radio);
    tools.append(choice);
  }
  const sizes = slider(t("Size"), 1, Math.max(64, Math.round(Math.max(width, height) / 3)), size, (value) => (size = value));
  const softness = slider(t("Feather"), 0, 100, soft, (value) => (soft = value));
  /** @param {string} label @param {() => void} run */
  const button = (label, run) => {
    const element = make("button", "", label, { type: "button" });
    element.addEventListener("click", run);
    return element;
  };
  const save = button(t("Save"), async () => {
    words.textContent = t("Saving …");
    try {
      const ref_ = await upload(api, ref, await masked(image, mask, soft));
      done(ref_);
      dialog.close();
    } catch (error) {
      words.textContent = error instanceof Error ? error.message : String(error);
    }
  });
  save.className = "primary";
  words.textContent = t("Right button erases; [ and ] change the size.");
  foot.replaceChildren(
    tools, sizes, softness,
    button(t("Undo"), () => step(past, future)), button(t("Redo"), () => step(future, past)),
    button(t("Clear"), () => {
      keep();
      ink.clearRect(0, 0, width, height);
      draw();
    }),
    button(t("Invert"), () => {
      keep();
      const data = ink.getImageData(0, 0, width, height);
      for (let i = 0; i < data.data.length; i += 4) data.data.set([255, 255, 255, 255 - data.data[i + 3]], i);
      ink.putImageData(data, 0, 0);
      draw();
    }),
    words, save, closer(dialog),
  );

  // -- drawing
  /** @param {PointerEvent} event @returns {[number, number]} */
  const at = (event) => {
    const box = sheet.getBoundingClientRect();
    const scale = Math.min(box.width / width, box.height / height);
    return [(event.clientX - box.left - (box.width - width * scale) / 2) / scale, (event.clientY - box.top - (box.height - height * scale) / 2) / scale];
  };
  /** @type {[number, number] | null} */
  let last = null;
  /** @param {PointerEvent} event */
  const stroke = (event) => {
    const [x, y] = at(event);
    const erasing = tool === "eraser" || (event.buttons & 2) === 2;
    ink.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    ink.strokeStyle = ink.fillStyle = "#fff";
    ink.lineWidth = size * (event.pointerType === "pen" ? Math.max(0.1, event.pressure) : 1);
    ink.lineCap = ink.lineJoin = "round";
    ink.beginPath();
    ink.moveTo(...(last ?? [x, y]));
    ink.lineTo(x + (last ? 0 : 0.01), y);
    ink.stroke();
    ink.globalCompositeOperation = "source-over";
    last = [x, y];
    draw();
  };
  sheet.addEventListener("contextmenu", (event) => event.preventDefault());
  sheet.addEventListener("pointerdown", (event) => {
    sheet.setPointerCapture(event.pointerId);
    keep();
    if (tool === "fill" && event.button === 0) {
      const data = ink.getImageData(0, 0, width, height);
      const [x, y] = at(event);
      flood(data, Math.floor(x), Math.floor(y));
      ink.putImageData(data, 0, 0);
      return draw();
    }
    last = null;
    stroke(event);
  });
  sheet.addEventListener("pointermove", (event) => {
    const box = frame.getBoundingClientRect();
    const shown = sheet.getBoundingClientRect();
    const diameter = size * Math.min(shown.width / width, shown.height / height);
    ring.style.width = ring.style.height = `${diameter}px`;
    ring.style.transform = `translate(${event.clientX - box.left - diameter / 2}px, ${event.clientY - box.top - diameter / 2}px)`;
    if (last) for (const each of event.getCoalescedEvents?.() ?? [event]) stroke(each);
  });
  for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) sheet.addEventListener(name, () => (last = null));
  dialog.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") event.shiftKey ? step(future, past) : step(past, future);
    else if (event.key === "[" || event.key === "]") {
      size = Math.max(1, Math.round(size * (event.key === "]" ? 1.2 : 1 / 1.2)));
      const field = sizes.querySelector("input");
      if (field) field.value = String(size);
    } else return;
    event.preventDefault();
  });
  draw();
  sheet.focus();
}

/** @param {HTMLDialogElement} dialog */
function closer(dialog) {
  const close = make("button", "", t("Cancel"), { type: "button" });
  close.addEventListener("click", () => dialog.close());
  return close;
}

/** @param {string} label @param {number} min @param {number} max @param {number} value @param {(value: number) => void} set */
function slider(label, min, max, value, set) {
  const element = make("label", "slider", label);
  const field = make("input", "", null, { type: "range", min: String(min), max: String(max), value: String(value) });
  field.addEventListener("input", () => set(Number(field.value)));
  element.append(field);
  return element;
}

/** A picture that is transparent somewhere is masked there already. @param {HTMLImageElement} image @param {CanvasRenderingContext2D} ink */
function startFromAlpha(image, ink) {
  ink.drawImage(image, 0, 0);
  const data = ink.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
  for (let i = 0; i < data.data.length; i += 4) data.data.set([255, 255, 255, 255 - data.data[i + 3]], i);
  ink.clearRect(0, 0, image.naturalWidth, image.naturalHeight);
  ink.putImageData(data, 0, 0);
}

/**
 * A sheet of the size of the picture, transparent where it is masked: what the server lays over the original.
 * @param {HTMLImageElement} image @param {HTMLCanvasElement} mask @param {number} soft  radius of the feather in pixels
 * @returns {Promise<Blob>}
 */
function masked(image, mask, soft) {
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [mask.width, mask.height];
  const pen = /** @type {CanvasRenderingContext2D} */ (sheet.getContext("2d"));
  pen.drawImage(image, 0, 0);
  const out = pen.getImageData(0, 0, mask.width, mask.height);
  const ink = /** @type {CanvasRenderingContext2D} */ (mask.getContext("2d")).getImageData(0, 0, mask.width, mask.height);
  const covered = feather(Float32Array.from({ length: mask.width * mask.height }, (_, i) => ink.data[4 * i + 3]), mask.width, mask.height, soft);
  for (let i = 0; i < covered.length; i++) out.data[4 * i + 3] = 255 - Math.round(covered[i]);
  pen.putImageData(out, 0, 0);
  return new Promise((done, failed) => sheet.toBlob((blob) => (blob ? done(blob) : failed(new Error(t("The browser could not write the picture.")))), "image/png"));
}

/** @param {import("../run/api.js").Api} api @param {FileRef} original @param {Blob} blob @returns {Promise<{name: string, subfolder: string, type: string}>} */
async function upload(api, original, blob) {
  const form = new FormData();
  form.append("image", blob, `masked-${Date.now()}.png`);
  form.append("original_ref", JSON.stringify(original));
  form.append("type", "input");
  form.append("subfolder", "masks");
  return (await api.request("POST", "upload/mask", form)).body;
}
