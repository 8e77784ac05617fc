// A box drawn over the picture it is meant for: drag over the ground to draw it anew, drag it to move it, its edges to size it, or type numbers.

import { make } from "../canvas/dom.js";
import { t } from "../shell/i18n.js";

/** @typedef {{x: number, y: number, width: number, height: number}} Box */
/** @typedef {"x" | "y" | "width" | "height"} Side */
/**
 * @typedef {object} BoxOptions
 * @property {string} title
 * @property {readonly [number, number]} area  how wide and high the picture is, in the units of the box
 * @property {string | null} picture  its address, where there is one
 * @property {Box} box
 * @property {readonly {title: string, box: Box}[]} others  boxes of the same picture, for orientation
 * @property {number} step  boxes are whole multiples of it
 * @property {readonly [number, number]} smallest
 * @property {(box: Box) => void} done
 */

const SIDES = /** @type {const} */ (["x", "y", "width", "height"]);

/**
 * A box within an area, of whole steps.
 * @param {Box} box
 * @param {readonly [number, number]} area
 * @param {number} step
 * @param {readonly [number, number]} smallest
 * @returns {Box}
 */
export function fittedBox(box, [wide, high], step, smallest) {
  /** @param {number} value */
  const whole = (value) => Number((Math.round(value / step) * step).toFixed(6));
  const width = Math.min(wide, Math.max(smallest[0], whole(box.width)));
  const height = Math.min(high, Math.max(smallest[1], whole(box.height)));
  return { x: Math.min(whole(wide - width), Math.max(0, whole(box.x))), y: Math.min(whole(high - height), Math.max(0, whole(box.y))), width, height };
}

/** @param {BoxOptions} options */
export function openBoxEditor({ title, area, picture, box: start, others, step, smallest, done }) {
  const before = document.activeElement;
  const dialog = make("dialog", "lightbox box-editor", null, { "aria-label": title });
  const frame = make("div", "lightbox-frame");
  const sheet = make("div", "box-sheet", null, { "aria-hidden": "true" });
  const foot = make("div", "lightbox-foot");
  if (picture) {
    const image = make("img", "", null, { alt: "", draggable: "false" });
    image.src = picture;
    sheet.append(image);
  }
  /** @param {HTMLElement} element @param {Box} at */
  const place = (element, at) => {
    element.style.left = `${(100 * at.x) / area[0]}%`;
    element.style.top = `${(100 * at.y) / area[1]}%`;
    element.style.width = `${(100 * at.width) / area[0]}%`;
    element.style.height = `${(100 * at.height) / area[1]}%`;
  };
  for (const other of others) {
    const element = make("div", "box-other", other.title);
    place(element, other.box);
    sheet.append(element);
  }
  const own = make("div", "box-own");
  sheet.append(own);
  frame.append(sheet);
  dialog.append(frame, foot);

  let box = start;
  const fields = /** @type {Record<Side, HTMLInputElement>} */ ({});
  /** @param {Box} next */
  const show = (next) => {
    box = fittedBox(next, area, step, smallest);
    place(own, box);
    for (const side of SIDES) if (document.activeElement !== fields[side]) fields[side].value = String(box[side]);
  };
  const labels = { x: t("Left"), y: t("Top"), width: t("Width"), height: t("Height") };
  for (const side of SIDES) {
    const label = make("label", "", labels[side]);
    const field = make("input", "", null, { type: "number", step: String(step), min: "0", max: String(area[side === "x" || side === "width" ? 0 : 1]) });
    field.addEventListener("input", () => field.value !== "" && show({ ...box, [side]: Number(field.value) }));
    field.addEventListener("blur", () => (field.value = String(box[side])));
    fields[side] = field;
    label.append(field);
    foot.append(label);
  }
  const cancel = make("button", "", t("Cancel"), { type: "button" });
  const save = make("button", "primary", t("Use this box"), { type: "button" });
  cancel.addEventListener("click", () => dialog.close());
  save.addEventListener("click", () => {
    done(box);
    dialog.close();
  });
  foot.append(make("p", "", t("Of {width} × {height}", { width: area[0], height: area[1] })), cancel, save);

  /** Where a pointer is, in the units of the box. @param {PointerEvent} event @returns {[number, number]} */
  const at = (event) => {
    const rect = sheet.getBoundingClientRect();
    return [((event.clientX - rect.left) / rect.width) * area[0], ((event.clientY - rect.top) / rect.height) * area[1]];
  };
  /** @type {((x: number, y: number) => Box) | null} */
  let drag = null;
  frame.addEventListener("pointerdown", (event) => {
    const [x, y] = at(event);
    const from = box;
    const rect = sheet.getBoundingClientRect();
    const near = (12 / rect.width) * area[0];
    const [right, bottom] = [from.x + from.width, from.y + from.height];
    const inside = x > from.x - near && x < right + near && y > from.y - near && y < bottom + near;
    const edges = { left: Math.abs(x - from.x) < near, right: Math.abs(x - right) < near, top: Math.abs(y - from.y) < near, bottom: Math.abs(y - bottom) < near };
    /** @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 @returns {Box} */
    const spanned = (x0, y0, x1, y1) => {
      /** @param {number} value @param {number} most */
      const within = (value, most) => Math.min(most, Math.max(0, value));
      const [l, r] = [within(Math.min(x0, x1), area[0]), within(Math.max(x0, x1), area[0])];
      const [top, low] = [within(Math.min(y0, y1), area[1]), within(Math.max(y0, y1), area[1])];
      return { x: l, y: top, width: r - l, height: low - top };
    };
    if (inside && (edges.left || edges.right || edges.top || edges.bottom)) {
      drag = (px, py) => spanned(edges.left ? px : from.x, edges.top ? py : from.y, edges.right && !edges.left ? px : right, edges.bottom && !edges.top ? py : bottom);
    } else if (inside) drag = (px, py) => ({ ...from, x: from.x + px - x, y: from.y + py - y });
    else drag = (px, py) => spanned(x, y, px, py);
    frame.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => drag && show(drag(...at(event))));
  for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) frame.addEventListener(name, () => (drag = null));
  const size = () => {
    const rect = frame.getBoundingClientRect();
    const scale = Math.min((rect.width - 40) / area[0], (rect.height - 40) / area[1]);
    sheet.style.width = `${area[0] * scale}px`;
    sheet.style.height = `${area[1] * scale}px`;
  };
  const observer = new ResizeObserver(size);
  observer.observe(frame);
  dialog.addEventListener("close", () => {
    observer.disconnect();
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  show(start);
  dialog.showModal();
  fields.x.focus();
}
