// A result at full size with what is known about it, and two results compared.

import { addNode, setWidget } from "../core/commands/nodes.js";
import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { t } from "../shell/i18n.js";
import { tellError, toast } from "../shell/toast.js";
import { importRef } from "../files/import.js";
import { caption } from "./queue.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("./state.js").Output} Output */

/**
 * @param {App} app
 * @param {readonly Output[]} outputs
 * @param {number} at
 * @param {{prompt: import("../format/prompt.js").Prompt, extra: any, id: string} | null} [job]
 */
export function openViewer(app, outputs, at, job = null) {
  const picture = el("div", { class: "picture" });
  const about = el("div", { class: "about" });
  const frame = openDialog(t("Result"), { class: "full" }, el("div", { class: "viewer" }, picture, about));
  const show = () => {
    const output = outputs[at];
    picture.replaceChildren(media(output, job ? caption(job.prompt) : output.filename));
    const act = (/** @type {string} */ label, /** @type {() => unknown} */ run) => el("button", { attributes: { type: "button" }, on: { click: () => Promise.resolve(run()).catch(tellError) } }, label);
    about.replaceChildren(
      el("h3", {}, output.filename || t("Text")),
      el(
        "div",
        { class: "row", attributes: { style: null } },
        outputs.length > 1 && act("←", () => step(-1)),
        outputs.length > 1 && el("span", { class: "soft" }, `${at + 1} / ${outputs.length}`),
        outputs.length > 1 && act("→", () => step(1)),
      ),
      el("p", { class: "row" }, output.url && el("a", { class: "button", attributes: { href: output.url, download: output.filename } }, t("Download"))),
      el("p", { class: "row" }, output.url && act(t("Open its graph"), async () => {
        await importRef(app, output);
        frame.close();
      })),
      el("p", { class: "row" }, output.kind === "image" && output.filename && act(t("Use it in the graph"), () => {
        useInGraph(app, output);
        frame.close();
      })),
      facts(job, output),
    );
  };
  /** @param {number} by */
  const step = (by) => {
    at = (at + by + outputs.length) % outputs.length;
    show();
  };
  frame.dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") step(event.key === "ArrowRight" ? 1 : -1);
  });
  show();
}

/**
 * A result becomes an input: in the selected node that takes a picture, else in a new one.
 * @param {App} app @param {Output} output
 */
export function useInGraph(app, { filename, subfolder, type }) {
  const session = app.workspace.active?.session;
  if (!session) return;
  const { document: graph, definitions, selection } = session;
  const value = `${[subfolder, filename].filter(Boolean).join("/")}${type && type !== "input" ? ` [${type}]` : ""}`;
  /** @param {string} kind */
  const takes = (kind) => definitions.get(kind)?.inputs.find(({ options }) => options.image_upload === true);
  const [chosen] = [...selection.selected.nodes].filter((id) => takes(graph.graph(session.graph).node(id).type));
  graph.edit("Use a result", () => {
    const definition = definitions.get(chosen === undefined ? "LoadImage" : graph.graph(session.graph).node(chosen).type);
    const input = definition && takes(definition.type);
    if (!definition || !input) return;
    const box = document.querySelector(".stage")?.getBoundingClientRect();
    const [x, y] = (box && app.view.canvas?.toGraph(box.left + box.width / 2 - 150, box.top + box.height / 3)) ?? [0, 0];
    const id = chosen ?? addNode(graph, session.graph, definition.type, definition, { pos: [Math.round(x), Math.round(y)], size: [300, 320] });
    setWidget(graph, session.graph, id, definition, input.name, value);
    selection.set([id], [], session.graph);
  });
  toast(t("{name} is an input of the graph now.", { name: filename }), { kind: "good", seconds: 3 });
}

/** @param {Output} output @param {string} words */
export function media(output, words) {
  if (output.kind === "video") return el("video", { attributes: { src: output.url, controls: true, loop: true, "aria-label": words } });
  if (output.kind === "audio") return el("audio", { attributes: { src: output.url, controls: true, "aria-label": words } });
  if (output.kind === "text") return el("pre", { class: "log" }, output.text ?? "");
  if (output.kind === "file") return el("a", { class: "button", attributes: { href: output.url, download: output.filename } }, output.filename);
  return el("img", { attributes: { src: output.url, alt: words || output.filename } });
}

/** The values a picture was made with. @param {{prompt: import("../format/prompt.js").Prompt} | null} job @param {Output} output */
function facts(job, output) {
  const list = el("dl");
  /** @param {string} name @param {unknown} value */
  const add = (name, value) => list.append(el("dt", {}, name), el("dd", {}, typeof value === "string" ? value : JSON.stringify(value)));
  add(t("File"), [output.type, output.subfolder, output.filename].filter(Boolean).join("/"));
  for (const { class_type, inputs, _meta } of Object.values(job?.prompt ?? {})) {
    for (const [name, value] of Object.entries(inputs ?? {})) if (!Array.isArray(value) && value !== "") add(`${_meta?.title ?? class_type} · ${name}`, value);
  }
  return list;
}

/** @param {Output} a @param {Output} b */
export function openCompare(a, b) {
  const box = el("div", { class: "compare" });
  const slider = el("input", { attributes: { type: "range", min: 0, max: 100, step: 0.5, "aria-label": t("Where the pictures meet") }, set: { value: "50" } });
  const cut = () => box.style.setProperty("--cut", `${slider.value}%`);
  slider.addEventListener("input", cut);
  box.append(el("img", { attributes: { src: a.url, alt: a.filename } }), el("img", { class: "over", attributes: { src: b.url, alt: b.filename } }), el("div", { class: "bar" }), slider);
  box.addEventListener("pointermove", (event) => {
    if (event.target === slider || (event.pointerType !== "mouse" && !event.buttons)) return;
    const { left, width } = box.getBoundingClientRect();
    slider.value = String(((event.clientX - left) / width) * 100);
    cut();
  });
  cut();
  openDialog(t("Compare {a} and {b}", { a: a.filename, b: b.filename }), { class: "full" }, box);
}
