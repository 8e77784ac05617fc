// What is selected, with room: all values of nodes, also those folded away, their name and whether they run. With nothing selected, the values the form shows.

import { faceOf } from "../canvas/face.js";
import { renameNode, setMode } from "../core/commands/nodes.js";
import { ALWAYS, BYPASSED, MUTED, ROOT } from "../core/records.js";
import { allFields, fields, toggle } from "../form/model.js";
import "../widgets/index.js";
import { kind, kindOf, sizeOf } from "../widgets/registry.js";
import { el, freshId, soon } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../canvas/face.js").FaceWidget} FaceWidget */
/** @typedef {import("../widgets/registry.js").WidgetContext} WidgetContext */
/** @typedef {{id: Id, face: import("../canvas/face.js").Face, widgets: FaceWidget[]}} Section */
/** @typedef {{star: HTMLButtonElement, host: HTMLElement, context: WidgetContext, widget: import("../widgets/registry.js").Widget}} Row */

const MOST = 20;
const TALL = 120;
/** Elements of scripts and cameras are there once, on their node. */
const ON_NODES_ONLY = new Set(["PACK_ELEMENT", "PACK_DRAWN", "WEBCAM", "AUDIO_RECORD"]);

/** @param {App} app @returns {import("./side.js").Panel} */
export function create(app) {
  const { workspace } = app;
  const place = el("div", { class: "properties" });
  /** @type {Map<string, Row>} */
  const rows = new Map();
  let drawn = "";
  /** @type {(() => void)[]} */
  let stops = [];

  const clear = () => {
    for (const { widget } of rows.values()) widget.destroy();
    rows.clear();
    place.replaceChildren();
  };
  const draw = soon(() => {
    const session = workspace.active?.session;
    if (!session) {
      drawn = "";
      return clear();
    }
    const { selected } = session.selection;
    const chosen = [...selected.nodes].filter((id) => session.document.graph(selected.graph).nodes.has(id));
    const graph = chosen.length ? selected.graph : ROOT;
    const sections = chosen.length ? chosen.slice(0, MOST).map((id) => sectionOf(session, graph, id)) : favourites(session);
    const shape = JSON.stringify([workspace.active?.key, graph, chosen.length, sections.map(({ id, face, widgets }) => [typeof id, id, face.type, face.kind, widgets.map(({ name, label, input }) => [name, label, kindOf(input), input.choices?.length])])]);
    if (shape !== drawn) {
      drawn = shape;
      clear();
      place.append(...sections.map((section) => drawSection(session, graph, section, chosen.length > 0)));
      if (!chosen.length) place.prepend(el("p", { class: "note" }, sections.length ? t("Nothing is selected. These values are in the form; a star beside a value puts it here.") : t("Select a node to see all of its values.")));
      if (chosen.length > MOST) place.append(el("p", { class: "note" }, t("{n} more nodes are selected.", { n: chosen.length - MOST })));
    }
    const starred = starsOf(session);
    const offered = graph === ROOT ? new Set(allFields(session.document, session.definitions).map(({ id, name }) => `${id} ${name}`)) : new Set();
    for (const { id, face, widgets } of sections) {
      const title = place.querySelector(`[data-title="${CSS.escape(keyOf(id))}"]`);
      if (title instanceof HTMLInputElement && title !== document.activeElement) title.value = face.title;
      const state = place.querySelector(`[data-state="${CSS.escape(keyOf(id))}"]`);
      if (state instanceof HTMLSelectElement) state.value = String(session.document.graph(graph).node(id).mode ?? ALWAYS);
      for (const widget of widgets) {
        const row = rows.get(`${keyOf(id)} ${widget.name}`);
        if (!row) continue;
        const { context, host, star } = row;
        const same = context.value === widget.value && context.fed === widget.fed && context.control === widget.control;
        Object.assign(context, { value: widget.value, fed: widget.fed, control: widget.control, node: session.document.graph(graph).node(id), input: widget.input });
        host.classList.toggle("fed", widget.fed);
        if (!same) row.widget.update(widget.value, context);
        star.hidden = !offered.has(`${id} ${widget.name}`);
        star.setAttribute("aria-pressed", String(starred.has(`${id} ${widget.name}`)));
      }
    }
  });
  /** @param {import("../session.js").Session} session @param {string} graph @param {Section} section @param {boolean} whole  with what is said of the node itself */
  const drawSection = (session, graph, { id, face, widgets }, whole) => {
    const { document: doc } = session;
    const name = freshId("title");
    const state = freshId("state");
    const title = el("input", { id: name, attributes: { type: "text", "data-title": keyOf(id) }, set: { value: face.title } });
    title.addEventListener("change", () => renameNode(doc, graph, id, title.value.trim()));
    const runs = el("select", { id: state, attributes: { "data-state": keyOf(id) } }, ...[[ALWAYS, t("Runs")], [BYPASSED, t("Bypassed")], [MUTED, t("Muted")]].map(([value, words]) => el("option", { attributes: { value } }, words)));
    runs.addEventListener("change", () => setMode(doc, graph, [id], Number(runs.value)));
    return el(
      "section",
      { class: "card-group", attributes: { "aria-label": face.title } },
      el("div", { class: "row" }, el("h3", { class: "grow" }, !whole ? face.title : face.kind === "ghost" ? t("{type}, which the server does not know", { type: face.type }) : face.type), el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": `${t("Show")}: ${face.title}`, title: t("Show") }, on: { click: () => show(app, graph, id) } }, icon("locate", 16))),
      whole && el("div", { class: "row pair" }, el("label", { class: "soft", attributes: { for: name } }, t("Name")), title),
      whole && face.kind !== "note" && face.kind !== "reroute" && el("div", { class: "row pair" }, el("label", { class: "soft", attributes: { for: state } }, t("In a run")), runs),
      ...widgets.map((widget) => drawWidget(session, graph, id, widget)),
    );
  };
  /** @param {import("../session.js").Session} session @param {string} graph @param {Id} id @param {FaceWidget} widget */
  const drawWidget = (session, graph, id, widget) => {
    const { document: doc } = session;
    const host = el("div", { class: "widget", attributes: { "data-widget": widget.name, "data-kind": kindOf(widget.input), title: typeof widget.input.options.tooltip === "string" ? widget.input.options.tooltip : null } });
    const { height, grows } = sizeOf(widget);
    host.style.height = `${grows ? Math.max(height, TALL) : height}px`;
    const now = () => sectionOf(session, graph, id).widgets.find(({ name }) => name === widget.name);
    /** @type {WidgetContext} */
    const context = {
      input: widget.input, label: widget.label, value: widget.value, control: widget.control, fed: widget.fed, node: doc.graph(graph).node(id), session, id: freshId("property"),
      set: (value, { merge = false } = {}) => doc.edit(`Change ${widget.label}`, (tx) => tx.put(graph, "nodes", (now() ?? widget).write(doc.graph(graph).node(id), value)), { merge: merge ? `properties ${graph} ${keyOf(id)} ${widget.name}` : null }),
      seal: () => doc.seal(),
      setControl: (value) => {
        const write = now()?.writeControl;
        if (write) doc.edit(`Change what happens to ${widget.name} after a run`, (tx) => tx.put(graph, "nodes", write(doc.graph(graph).node(id), value)));
      },
    };
    const mounted = /** @type {import("../widgets/registry.js").WidgetKind} */ (kind(kindOf(widget.input))).create(host, context);
    mounted.update(widget.value, context);
    const star = el("button", { class: "quiet small square star", attributes: { type: "button", "aria-pressed": "false", "aria-label": t("{name} in the form", { name: widget.label }), title: t("Show it in the form, and here when nothing is selected") }, on: { click: () => {
      const field = allFields(doc, session.definitions).find((each) => each.id === id && each.name === widget.name);
      if (field) toggle(doc, session.definitions, field);
    } } }, icon("star", 14)); // prettier-ignore
    rows.set(`${keyOf(id)} ${widget.name}`, { host, context, widget: mounted, star });
    return el("div", { class: "row property" }, host, star);
  };
  const follow = () => {
    for (const stop of stops) stop();
    const session = workspace.active?.session;
    stops = session ? [session.document.subscribe(draw), session.selection.subscribe(draw)] : [];
    draw();
  };
  workspace.addEventListener("active", follow);
  document.addEventListener("emulsion-refreshed", draw);
  follow();
  return {
    element: place,
    destroy: () => {
      for (const stop of stops) stop();
      workspace.removeEventListener("active", follow);
      document.removeEventListener("emulsion-refreshed", draw);
      clear();
    },
  };
}

/** 5 and "5" are two nodes. @param {Id} id */
const keyOf = (id) => JSON.stringify(id);

/** @param {import("../session.js").Session} session @param {string} graph @param {Id} id @returns {Section} */
function sectionOf({ document: doc, definitions }, graph, id) {
  const view = doc.graph(graph);
  const face = faceOf(doc, view, { ...view.node(id), showAdvanced: true }, definitions);
  return { id, face, widgets: face.widgets.filter(({ input }) => !ON_NODES_ONLY.has(kindOf(input))) };
}

/** @param {import("../session.js").Session} session @returns {Section[]} the nodes with values in the form, with those alone */
function favourites(session) {
  const starred = starsOf(session);
  const ids = new Set(fields(session.document, session.definitions).map(({ id }) => id));
  return [...ids].map((id) => {
    const section = sectionOf(session, ROOT, id);
    return { ...section, widgets: section.widgets.filter(({ name }) => starred.has(`${id} ${name}`)) };
  });
}

/** @param {import("../session.js").Session} session */
function starsOf(session) {
  return new Set(fields(session.document, session.definitions).map(({ id, name }) => `${id} ${name}`));
}

/** @param {App} app @param {string} graph @param {Id} id */
function show(app, graph, id) {
  const session = app.workspace.active?.session;
  if (!session || !app.view.canvas) return;
  if (session.graph !== graph) app.view.canvas.enter(graph);
  session.selection.set([id], [], graph);
  app.view.canvas.focus(id);
}
