// What is wrong with the workflow: each problem with what to do about it and a way to its node.

import { el } from "../shell/dom.js";
import { t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";

/** @typedef {import("../shell/app.js").App} App */

/** @param {App} app @returns {import("../shell/side.js").Panel} */
export function create(app) {
  const { centre, workspace } = app;
  const list = el("div", { id: "problems" });
  const draw = () => {
    const tab = workspace.active;
    const problems = tab ? centre.problems(tab.key) : [];
    const notes = tab?.notes ?? [];
    list.replaceChildren(
      ...problems.map((problem) => drawProblem(app, problem)),
      ...(notes.length ? [el("h3", {}, t("About the file"))] : []),
      ...notes.slice(0, 200).map(({ message }) => el("p", { class: "note" }, message)),
      ...(problems.length || notes.length ? [] : [el("p", { class: "note" }, t("No problems. Run checks the workflow before it is queued."))]),
    );
  };
  centre.addEventListener("problems", draw);
  workspace.addEventListener("active", draw);
  draw();
  return {
    element: list,
    destroy: () => {
      centre.removeEventListener("problems", draw);
      workspace.removeEventListener("active", draw);
    },
  };
}

/** @param {App} app @param {import("./sentences.js").Problem} problem */
function drawProblem(app, problem) {
  const { title, message, hint, node, traceback = [] } = problem;
  const report = `${title ? `${title}: ` : ""}${message}\n${hint}\n${traceback.join("")}`;
  return el(
    "section",
    { class: "problem" },
    title && el("strong", {}, title, node ? ` (${node})` : ""),
    el("p", {}, message),
    hint && el("p", { class: "soft" }, hint),
    el(
      "div",
      { class: "row" },
      node && el("button", { class: "small", attributes: { type: "button" }, on: { click: () => locate(app, node) } }, icon("locate", 16), t("Show the node")),
      /not in \[|not in list|value_not_in_list|no .*model|There is no file/i.test(message) && el("button", { class: "small", attributes: { type: "button" }, on: { click: () => app.actions.run("view.missing") } }, t("Find what is missing")),
      el("button", { class: "small quiet", attributes: { type: "button" }, on: { click: () => navigator.clipboard?.writeText(report) } }, t("Copy")),
    ),
    traceback.length > 0 && el("details", {}, el("summary", {}, t("Details for developers")), el("pre", { attributes: { tabindex: 0 } }, traceback.join(""))),
  );
}

/** Bring a node of a run ("12:5" is node 5 inside instance 12) into view. @param {App} app @param {string} id */
export function locate(app, id) {
  const session = app.workspace.active?.session;
  const canvas = app.view.canvas;
  if (!session || !canvas) return;
  const path = id.split(":");
  let graph = "root";
  /** @type {(string | number)[]} */
  const within = [];
  for (const step of path.slice(0, -1)) {
    const instance = nodeIn(session.document, graph, step);
    if (!instance || !session.document.hasGraph(instance.type)) return;
    within.push(instance.id);
    graph = instance.type;
  }
  const node = nodeIn(session.document, graph, path[path.length - 1]);
  if (!node) return;
  if (session.graph !== graph) canvas.enter(graph, within);
  session.selection.set([node.id], [], graph);
  canvas.centre(node.id);
}

/** @param {import("../core/document.js").Document} document @param {string} graph @param {string} id */
function nodeIn(document, graph, id) {
  const { nodes } = document.graph(graph);
  return nodes.get(id) ?? nodes.get(Number(id)) ?? null;
}
