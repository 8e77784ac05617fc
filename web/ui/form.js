// The form: one labelled field for each handle the graph has.
import { declared, get, handles } from "../core/graph.js";
import { text } from "../core/json.js";
import { freshId, make } from "./dom.js";

const LABELS = {
  prompt: "Prompt", negative: "Negative prompt", model: "Model", width: "Width", height: "Height", seed: "Seed",
  steps: "Steps", cfg: "Guidance", sampler: "Sampler", scheduler: "Scheduler",
};
const PAIRS = new Set(["width", "height", "steps", "cfg", "sampler", "scheduler"]);
const LARGEST_SEED = 2 ** 50;

export const randomSeed = () => Math.floor(Math.random() * LARGEST_SEED);

/** Fill `container` with the fields of `graph`; `change(place, value)` is called with each edit. */
export function drawForm(container, graph, info, change) {
  const rows = [];
  for (const [name, place] of Object.entries(handles(graph))) {
    if (!place) continue;
    const field = drawField(name, place, graph, info, change);
    const row = rows.at(-1);
    if (PAIRS.has(name) && row?.classList.contains("row") && row.children.length < 2) row.append(field);
    else rows.push(PAIRS.has(name) ? make("div", { class: "row" }, field) : field);
  }
  container.replaceChildren(...rows);
}

function drawField(name, place, graph, info, change) {
  const id = freshId(name);
  const value = get(graph, place);
  const { options, choices } = declared(info, graph, place);
  const label = make("label", { htmlFor: id }, LABELS[name]);
  const control = choices ? drawChoice(id, value, choices) : typeof value === "string" ? drawText(id, value, name) : drawNumber(id, value, options);
  control.name = name;
  control.addEventListener("input", () => {
    const entered = control.type === "number" ? control.valueAsNumber : control.value;
    control.setAttribute("aria-invalid", String(Number.isNaN(entered)));
    if (!Number.isNaN(entered)) change(place, entered);
  });
  if (name !== "seed") return make("div", { class: "field" }, label, control);
  const fresh = make("button", { type: "button", onclick: () => { control.value = randomSeed(); control.dispatchEvent(new Event("input")); } }, "New");
  fresh.setAttribute("aria-label", "New seed");
  return make("div", { class: "field" }, label, make("div", { class: "with-button" }, control, fresh));
}

function drawChoice(id, value, choices) {
  const listed = choices.includes(value) ? choices : [value, ...choices];
  return make("select", { id }, ...listed.map((choice) => make("option", { value: choice, selected: choice === value }, String(choice))));
}

function drawText(id, value, name) {
  return make("textarea", { id, rows: name === "prompt" ? 3 : 2, value });
}

function drawNumber(id, value, { min, max, step }) {
  const control = make("input", { id, type: "number" });
  if (min !== undefined) control.min = text(min);
  if (max !== undefined) control.max = text(max);
  control.step = step !== undefined ? text(step) : "any";
  control.value = text(value);
  return control;
}
