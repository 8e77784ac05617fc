// Whole and other numbers: drag the name, type, use the arrows, or write a sum. A seed has a choice beside it of what comes after a run.

import { make } from "../canvas/dom.js";
import { t } from "../shell/i18n.js";
import { calculate } from "./arithmetic.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

const CONTROLS = [
  ["fixed", "Keep", "="],
  ["increment", "One more", "+"],
  ["decrement", "One less", "−"],
  ["randomize", "Another at random", "⚄"],
];

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  const row = make("label");
  const name = make("span", "scrub", context.label);
  const field = make("input", "", null, { type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-label": context.label });
  const fill = make("div", "fill");
  row.append(name, field);
  host.append(row);
  const slider = context.input.options.display === "slider";
  if (slider) row.prepend(fill);
  const after = context.control === null ? null : controlOf(context);
  if (after) row.append(after.element);

  /** @param {unknown} written @param {boolean} merge */
  const take = (written, merge) => {
    const value = fitted(context.input, written);
    if (value !== null && value !== context.value) context.set(value, { merge });
    return value;
  };
  const show = () => {
    if (document.activeElement !== field || field.dataset.typed === undefined) field.value = text(context);
    field.classList.toggle("bad", !context.fed && fitted(context.input, context.value) !== context.value);
    if (slider) fill.style.width = `${100 * share(context)}%`;
  };
  field.addEventListener("input", () => (field.dataset.typed = ""));
  field.addEventListener("focus", () => field.select());
  field.addEventListener("blur", () => commit());
  const commit = () => {
    if (field.dataset.typed === undefined) return;
    delete field.dataset.typed;
    take(calculate(field.value), false);
    field.value = text(context);
    context.seal();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      commit();
      field.select();
      if (event.ctrlKey || event.metaKey) return; // runs the graph, with the new value
    } else if (event.key === "Escape") {
      delete field.dataset.typed;
      field.value = text(context);
      return; // goes on to the node
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const from = field.dataset.typed === undefined ? Number(context.value) : calculate(field.value) ?? Number(context.value);
      delete field.dataset.typed;
      take(from + (event.key === "ArrowUp" ? 1 : -1) * stepOf(context.input) * (event.shiftKey ? 10 : 1), true);
      field.value = text(context);
      event.preventDefault();
    } else return;
    event.stopPropagation();
  });
  scrub(name, context, take);

  return {
    /** @param {unknown} _value */
    update(_value) {
      field.disabled = context.fed;
      show();
      after?.update();
    },
    destroy() {},
  };
}

/** Drag over the name to change the number; a press without a drag goes on to the field. @param {HTMLElement} name @param {WidgetContext} context @param {(value: unknown, merge: boolean) => unknown} take */
function scrub(name, context, take) {
  name.dataset.drags = "";
  name.addEventListener("pointerdown", (down) => {
    if (down.button !== 0 || context.fed) return;
    const start = Number(context.value) || 0;
    const scale = name.getBoundingClientRect().height / 16 || 1;
    let dragged = false;
    /** @param {PointerEvent} move */
    const onMove = (move) => {
      const distance = (move.clientX - down.clientX) / scale;
      if (!dragged && Math.abs(distance) < 4) return;
      dragged = true;
      const { min, max } = context.input.options;
      const span = typeof min === "number" && typeof max === "number" && max - min < 1e6 ? (max - min) / 300 : 0;
      const per = Math.max(stepOf(context.input) / 4, Math.min(span, stepOf(context.input)));
      take(start + Math.round((distance * per * (move.shiftKey ? 0.1 : 1)) / stepOf(context.input)) * stepOf(context.input), true);
    };
    const onUp = () => {
      name.removeEventListener("pointermove", onMove);
      name.removeEventListener("pointerup", onUp);
      name.removeEventListener("pointercancel", onUp);
      if (dragged) context.seal();
    };
    name.setPointerCapture(down.pointerId);
    name.addEventListener("pointermove", onMove);
    name.addEventListener("pointerup", onUp);
    name.addEventListener("pointercancel", onUp);
    name.addEventListener("click", (event) => dragged && event.preventDefault(), { once: true });
  });
}

/** @param {WidgetContext} context */
function controlOf(context) {
  const element = make("span", "after");
  const sign = make("span", "", "", { "aria-hidden": "true" });
  const choice = make("select", "", null, { "aria-label": `${context.label}: ${t("after a run")}` });
  for (const [value, words] of CONTROLS) choice.append(make("option", "", t(words), { value }));
  choice.addEventListener("change", () => context.setControl(choice.value));
  element.append(sign, choice);
  return {
    element,
    update() {
      const [value, words, mark] = CONTROLS.find(([each]) => each === context.control) ?? CONTROLS[0];
      choice.value = value;
      sign.textContent = mark;
      element.title = `${t("After a run")}: ${t(words)}`;
    },
  };
}

/** @param {WidgetContext["input"]} input */
export function stepOf({ type, options }) {
  const step = options.step;
  if (typeof step === "number" && step > 0) return step;
  return type === "INT" ? 1 : 0.1;
}

/**
 * A number as the input takes it: within its bounds, whole where it must be.
 * @param {WidgetContext["input"]} input
 * @param {unknown} written
 * @returns {number | null} null when it is no number
 */
export function fitted({ type, options }, written) {
  if (typeof written !== "number" || !Number.isFinite(written)) return null;
  const { min, max, round } = options;
  let value = type === "INT" ? Math.round(written) : written;
  if (type !== "INT") {
    const grain = typeof round === "number" && round > 0 ? round : 1e-6;
    value = Number((Math.round(value / grain) * grain).toPrecision(12));
  }
  if (typeof max === "number") value = Math.min(max, value);
  if (typeof min === "number") value = Math.max(min, value);
  return value;
}

/** @param {WidgetContext} context */
function text({ value, input }) {
  if (typeof value !== "number") return value === null || value === undefined ? "" : String(value);
  if (input.type === "INT" || !Number.isFinite(value)) return String(value);
  const decimals = Math.min(6, Math.max(1, Math.ceil(-Math.log10(stepOf(input)) - 1e-9)));
  const short = value.toFixed(decimals);
  return Number(short) === value ? short : String(value);
}

/** How far along its range a value is. @param {WidgetContext} context */
function share({ value, input: { options } }) {
  const [min, max] = [Number(options.min ?? 0), Number(options.max ?? 1)];
  return max > min ? Math.min(1, Math.max(0, (Number(value) - min) / (max - min))) : 0;
}

register("INT", { create });
register("FLOAT", { create });
