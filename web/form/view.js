// The form view: the chosen inputs as plain fields, one button, and what comes out. It works on a phone, and changes the same workflow.

import { readControl } from "../core/widgets.js";
import { setWidget } from "../core/commands/nodes.js";
import { el, freshId, soon } from "../shell/dom.js";
import { t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { tellError } from "../shell/toast.js";
import { media, openViewer } from "../run/viewer.js";
import { allFields, allOutputs, fields, showsOutput, toggle, toggleOutput } from "./model.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("./model.js").Field} Field */

/** @type {(() => void) | null} */
let shown = null;

/** @param {App} app */
export function toggleForm(app) {
  if (shown) shown();
  else shown = openForm(app);
}

/** @param {App} app @returns {() => void} closes it */
function openForm(app) {
  const { workspace, centre, settings } = app;
  let choosing = false;
  /** @type {string} */
  let drawn = "";
  const list = el("div", { class: "form-fields" });
  const result = el("div", { class: "form-result", attributes: { "aria-live": "polite" } });
  const bar = el("progress", { attributes: { max: 1, "aria-label": t("Progress of the run") } });
  const words = el("p", { class: "soft", attributes: { role: "status" } });
  const run = el("button", { class: "primary form-run", attributes: { type: "button" }, on: { click: () => app.actions.run("run.queue") } }, icon("run", 16), t("Run"));
  const choose = el("button", { class: "quiet small", attributes: { type: "button", "aria-pressed": "false" }, on: { click: () => ((choosing = !choosing), (drawn = ""), draw()) } }, t("Choose what is shown"));
  const close = el("button", { class: "quiet small", attributes: { type: "button" }, on: { click: () => stop() } }, icon("graph", 16), t("Show the graph"));
  const page = el(
    "section",
    { class: "form-view", attributes: { "aria-label": t("Form view") } },
    el("div", { class: "form-side" }, el("div", { class: "row form-head" }, el("h2", { class: "grow" }, workspace.active?.name ?? ""), choose, close), list, run),
    el("div", { class: "form-stage" }, bar, words, result),
  );

  const drawFields = () => {
    const session = workspace.active?.session;
    if (!session) return;
    const { document: graph, definitions } = session;
    const now = fields(graph, definitions);
    const shape = `${workspace.active?.key}|${choosing}|${now.map(({ id, name }) => `${id}.${name}`)}`;
    if (shape === drawn) {
      for (const field of now) refresh(list, field);
      return;
    }
    drawn = shape;
    if (choosing) {
      /** @param {string} words @param {boolean} checked @param {() => void} change */
      const row = (words, checked, change) => {
        const id = freshId("choose");
        return el("div", { class: "row form-choice" }, el("input", { id, attributes: { type: "checkbox" }, set: { checked }, on: { change } }), el("label", { attributes: { for: id } }, words));
      };
      list.replaceChildren(
        el("h3", {}, t("Inputs")),
        ...allFields(graph, definitions).map((field) => row(`${field.title} · ${label(field)}`, now.some((each) => each.id === field.id && each.name === field.name), () => toggle(graph, definitions, field))),
        el("h3", {}, t("Outputs")),
        ...allOutputs(graph, definitions).map(({ id, title }) => row(title, showsOutput(graph, String(id)), () => toggleOutput(graph, definitions, id))),
      );
      return;
    }
    list.replaceChildren(...now.map((field) => drawField(app, field)));
    if (!now.length) list.append(el("p", { class: "note" }, t("This workflow has no values to set. Choose some, or open the graph.")));
  };
  const drawRun = soon(() => {
    const share = centre.share;
    bar.hidden = share === null;
    bar.value = share ?? 0;
    const tab = workspace.active;
    const problems = tab ? centre.problems(tab.key) : [];
    words.textContent = share !== null ? centre.saying : problems.map(({ title, message, hint }) => [title && `${title}:`, message, hint].filter(Boolean).join(" ")).join(" ");
    words.className = share === null && problems.length ? "problem-text" : "soft";
    const preview = centre.running?.document === tab?.key ? centre.running?.preview : null;
    const outputs = tab ? [...tab.session.runs.all].filter(([id]) => !id.includes(":") && showsOutput(tab.session.document, id)).flatMap(([, state]) => state.outputs) : [];
    if (preview) result.replaceChildren(el("img", { attributes: { src: preview, alt: t("Picture in the making"), "data-preview": true } }));
    else {
      const now = result.dataset.shown;
      const wanted = outputs.map(({ url, text }) => url || text).join();
      if (now === wanted && result.childElementCount) return;
      result.dataset.shown = wanted;
      result.replaceChildren(
        ...(outputs.length
          ? outputs.map((output, at) => (output.kind === "image" ? el("button", { class: "form-shot", attributes: { type: "button", "aria-label": t("Look at the picture") }, on: { click: () => openViewer(app, outputs, at) } }, media(output, "")) : media(output, output.filename)))
          : [el("p", { class: "note" }, t("What comes out appears here."))]),
      );
      return;
    }
    delete result.dataset.shown;
  });
  const draw = soon(() => {
    choose.setAttribute("aria-pressed", String(choosing));
    const title = page.querySelector("h2");
    if (title) title.textContent = workspace.active?.name ?? "";
    drawFields();
    drawRun();
  });
  /** @type {(() => void)[]} */
  let stops = [];
  const follow = () => {
    for (const each of stops) each();
    const session = workspace.active?.session;
    stops = session ? [session.document.subscribe(draw), session.runs.subscribe(drawRun)] : [];
    drawn = "";
    draw();
  };
  const stop = () => {
    for (const each of stops) each();
    for (const type of ["active", "tabs"]) workspace.removeEventListener(type, follow);
    for (const type of ["jobs", "problems", "ended"]) centre.removeEventListener(type, drawRun);
    page.remove();
    shown = null;
    settings.set("form.open", false);
  };
  workspace.addEventListener("active", follow);
  for (const type of ["jobs", "problems", "ended"]) centre.addEventListener(type, drawRun);
  follow();
  document.querySelector(".stage")?.append(page);
  settings.set("form.open", true);
  return stop;
}

/** @param {Field} field */
function label({ name, input }) {
  const said = typeof input.options.display_name === "string" ? input.options.display_name : name;
  return said.replaceAll("_", " ");
}

/** @param {Element} list @param {Field} field */
function refresh(list, field) {
  const control = [...list.querySelectorAll("[data-field]")].find((each) => /** @type {HTMLElement} */ (each).dataset.field === `${field.id}.${field.name}`);
  if (!control || control === document.activeElement) return;
  if (control instanceof HTMLInputElement && control.type === "checkbox") control.checked = Boolean(field.value);
  else if (control instanceof HTMLInputElement || control instanceof HTMLSelectElement || control instanceof HTMLTextAreaElement) control.value = String(field.value ?? "");
}

/** @param {App} app @param {Field} field */
function drawField(app, field) {
  const { input, name, title, value, definition, id } = field;
  const session = /** @type {import("../session.js").Session} */ (app.workspace.active?.session);
  const own = freshId("field");
  const { options } = input;
  /** @param {unknown} next */
  const set = (next) => setWidget(session.document, "root", id, definition, name, next, { merge: `form ${id} ${name}` });
  /** @type {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} */
  let control;
  if (input.choices) {
    const all = input.choices.map(String);
    const listed = all.includes(String(value)) ? all : [String(value), ...all];
    control = el("select", { id: own }, ...listed.map((each) => el("option", { attributes: { value: each }, set: { selected: each === String(value) } }, each)));
    const source = input.choices;
    control.addEventListener("change", () => set(source.find((each) => String(each) === control.value) ?? control.value));
  } else if (input.type === "BOOLEAN") {
    const box = el("input", { id: own, attributes: { type: "checkbox" }, set: { checked: Boolean(value) } });
    box.addEventListener("change", () => set(box.checked));
    control = box;
  } else if (input.type === "INT" || input.type === "FLOAT") {
    const number = el("input", { id: own, attributes: { type: "number", min: /** @type {any} */ (options.min), max: /** @type {any} */ (options.max), step: /** @type {any} */ (input.type === "INT" ? (options.step ?? 1) : "any"), inputmode: "decimal" }, set: { value: String(value) } });
    number.addEventListener("input", () => !Number.isNaN(number.valueAsNumber) && set(number.valueAsNumber));
    control = number;
  } else {
    control = options.multiline ? el("textarea", { id: own, attributes: { rows: 4 }, set: { value: String(value ?? "") } }) : el("input", { id: own, attributes: { type: "text" }, set: { value: String(value ?? "") } });
    control.addEventListener("input", () => set(control.value));
  }
  control.addEventListener("blur", () => session.document.seal());
  control.dataset.field = `${id}.${name}`;
  control.setAttribute("name", name);
  const dice = readControl(session.document.root.node(id), definition, name) !== null && input.type === "INT";
  return el(
    "div",
    { class: "form-field" },
    el("label", { attributes: { for: own } }, title, el("span", { class: "soft" }, ` ${label(field)}`)),
    options.image_upload ? el("div", { class: "row" }, control, upload(app, set)) : dice ? el("div", { class: "row" }, control, el("button", { attributes: { type: "button", "aria-label": t("New seed") }, on: { click: () => (set(Math.floor(Math.random() * 2 ** 50)), session.document.seal()) } }, icon("again", 16))) : control,
  );
}

/** @param {App} app @param {(value: string) => void} set */
function upload({ api, actions }, set) {
  const file = el("input", { class: "unseen", attributes: { type: "file", accept: "image/*", "aria-label": t("Choose a picture") } });
  file.addEventListener("change", async () => {
    const [first] = file.files ?? [];
    if (!first) return;
    try {
      const { name, subfolder } = await api.upload(first, first.name);
      actions.run("server.refresh");
      set(subfolder ? `${subfolder}/${name}` : name);
    } catch (error) {
      tellError(error);
    }
  });
  return el("label", { class: "button" }, t("Picture …"), file);
}
