// The graph as a list: every node with its state, to be found by title, type or value, and gone to. Subgraphs are branches.

import { ranked as inOrder } from "../core/graphview.js";
import { BYPASSED, MUTED, ROOT } from "../core/records.js";
import { el, soon } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { fits } from "./match.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {{graph: string, within: Id[], id: Id, title: string, type: string, text: string, off: boolean, status: string, inner: Row[]}} Row */

const MOST = 500;
const RUNS_EVERY_MS = 400;

/** @param {App} app @returns {import("./side.js").Panel} */
export function create(app) {
  const { workspace } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Find in the workflow"), placeholder: t("Find in the workflow") } });
  const list = el("div", { class: "outline" });
  /** @type {(() => void)[]} */
  let stops = [];

  const draw = soon(() => {
    const session = workspace.active?.session;
    if (!session) {
      list.replaceChildren();
      return;
    }
    const rows = rowsOf(session, ROOT, [], new Set());
    const words = search.value.trim();
    if (words) {
      const found = flat(rows).map((row) => ({ row, score: fits(words, `${row.title} ${row.type} ${row.id}`) || (row.text.toLowerCase().includes(words.toLowerCase()) ? 1 : 0) })).filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
      list.replaceChildren(...(found.length ? found.slice(0, MOST).map(({ row }) => drawRow(app, row, words)) : [el("p", { class: "note" }, t("Nothing fits the search."))]));
      return;
    }
    list.replaceChildren(...(rows.length ? drawRows(app, rows) : [el("p", { class: "note" }, t("This workflow is empty. Press A to add a node."))]));
  });
  let due = 0;
  const drawLater = () => {
    due ||= window.setTimeout(() => {
      due = 0;
      draw();
    }, RUNS_EVERY_MS);
  };
  const follow = () => {
    for (const stop of stops) stop();
    const session = workspace.active?.session;
    stops = session ? [session.document.subscribe(draw), session.selection.subscribe(draw), session.runs.subscribe(drawLater)] : [];
    draw();
  };
  search.addEventListener("input", draw);
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    /** @type {HTMLElement | null} */ (list.querySelector("button"))?.click();
    event.preventDefault();
  });
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const rows = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("button.what")]);
    rows[rows.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
    event.preventDefault();
  });
  workspace.addEventListener("active", follow);
  follow();
  return {
    element: el("div", {}, el("div", { class: "search" }, search), list),
    destroy: () => {
      for (const stop of stops) stop();
      workspace.removeEventListener("active", follow);
    },
  };
}

/** @param {import("../session.js").Session} session @param {string} graph @param {Id[]} within @param {ReadonlySet<string>} above @returns {Row[]} */
export function rowsOf(session, graph, within, above) {
  const { document, definitions, runs } = session;
  return inOrder(document.graph(graph).nodes).map((node) => {
    const inner = node.type !== ROOT && document.hasGraph(node.type) && !above.has(node.type) ? node.type : null;
    const name = inner ? String(document.graph(inner).record.name ?? t("Subgraph")) : (definitions.get(node.type)?.title ?? node.type);
    return {
      graph, within, id: node.id, title: node.title || name, type: name, off: node.mode === MUTED || node.mode === BYPASSED,
      text: Object.values(node.widgets_values ?? {}).filter((value) => typeof value === "string" || typeof value === "number").join(" "),
      status: runs.of(within.map((id) => `${id}:`).join("") + node.id).status,
      inner: inner ? rowsOf(session, inner, [...within, node.id], new Set([...above, inner])) : [],
    };
  });
}

/** @param {readonly Row[]} rows @returns {Row[]} */
function flat(rows) {
  return rows.flatMap((row) => [row, ...flat(row.inner)]);
}

/** @param {App} app @param {readonly Row[]} rows @returns {HTMLElement[]} */
function drawRows(app, rows) {
  return rows.slice(0, MOST).map((row) => (row.inner.length ? el("div", {}, drawRow(app, row, ""), el("div", { class: "branch" }, ...drawRows(app, row.inner))) : drawRow(app, row, "")));
}

/** @param {App} app @param {Row} row @param {string} words */
function drawRow(app, { graph, within, id, title, type, text, off, status, inner }, words) {
  const session = app.workspace.active?.session;
  const selected = session?.graph === graph && session.selection.selected.nodes.has(id);
  const at = words ? text.toLowerCase().indexOf(words.toLowerCase()) : -1;
  const sub = at >= 0 ? `… ${text.slice(Math.max(0, at - 20), at + 60)} …` : title === type ? "" : type;
  return el(
    "div",
    { class: `card slim${selected ? " now" : ""}${off ? " off" : ""}` },
    icon(inner.length ? "graph" : "file", 14),
    el("button", { class: "quiet what grow", attributes: { type: "button", "aria-current": selected ? "true" : null }, on: { click: () => show(app, graph, within, id) } }, el("span", {}, title), sub && el("span", { class: "sub" }, sub)),
    ["error", "running", "done", "cached"].includes(status) && el("span", { class: `sub${status === "error" ? " bad" : ""}` }, { error: t("Failed"), running: t("Running"), done: t("Done"), cached: t("Kept") }[/** @type {"done"} */ (status)]),
    el("span", { class: "sub" }, `#${id}`),
  );
}

/** Go to a node, into subgraphs if it is in one. @param {App} app @param {string} graph @param {readonly Id[]} within @param {Id} id */
function show(app, graph, within, id) {
  const session = app.workspace.active?.session;
  const { canvas } = app.view;
  if (!session || !canvas) return;
  if (session.graph !== graph || session.within.join() !== within.join()) canvas.enter(graph, within);
  session.selection.set([id], [], graph);
  canvas.focus(id);
}
