// What a node is for: its own page where it brings one, and what its definition says.

import { el } from "./dom.js";
import { openDialog } from "./dialog.js";
import { language, t } from "./i18n.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app @param {import("../session.js").Session} session @param {string} [type] */
export async function openHelp(app, session, type) {
  const { api } = app;
  const { graph, nodes } = session.selection.selected;
  const [first] = nodes;
  const wanted = type ?? (first === undefined ? "" : session.document.graph(graph).node(first).type);
  const definition = session.definitions.get(wanted);
  const frame = openDialog(definition?.title ?? wanted);
  if (!definition) {
    frame.body.append(el("p", {}, t("This server has no node of the type {type}. It is kept with its values and links.", { type: wanted })));
    return;
  }
  frame.body.append(el("p", { class: "soft" }, `${definition.category} · ${definition.type}`), el("p", {}, definition.description || t("This node has no description.")));
  for (const [title, rows] of /** @type {[string, {name: string, type: unknown, tip: unknown}[]][]} */ ([
    [t("Inputs"), definition.inputs.map(({ name, type: kind, options, required }) => ({ name: required ? name : `${name} (${t("optional")})`, type: kind, tip: [options.tooltip, limits(options)].filter(Boolean).join(" · ") }))],
    [t("Outputs"), definition.outputs.map(({ name, type: kind, tooltip }) => ({ name, type: kind, tip: tooltip }))],
  ])) {
    if (!rows.length) continue;
    frame.body.append(el("h3", {}, title), el("table", { class: "plain" }, ...rows.map(({ name, type: kind, tip }) => el("tr", {}, el("td", {}, name), el("td", { class: "soft" }, String(kind)), el("td", {}, String(tip ?? ""))))));
  }
  const page = await own(api, definition);
  const users = app.workspace.active ? [...session.document.root.nodes.values()].filter((node) => node.type === definition.type).length : 0;
  if (definition.deprecated) frame.body.append(el("p", { class: "problem-text" }, t("This node is kept for old workflows; there is a newer one.")));
  if (definition.experimental) frame.body.append(el("p", { class: "soft" }, t("This node may still change.")));
  frame.body.append(el("p", { class: "row" }, el("button", { class: "small", attributes: { type: "button" }, on: { click: async () => (frame.close(), (await import("./nodes_panel.js")).addAt(app, definition.type)) } }, t("Add to the graph")), el("span", { class: "soft" }, users ? t("{n} in this workflow", { n: users }) : "")));
  if (page) {
    const { markdown } = await import("./markdown.js");
    frame.body.append(el("hr"), markdown(page));
  }
}

/** @param {Readonly<Record<string, unknown>>} options */
function limits({ min, max, default: start }) {
  return [min !== undefined && t("from {min}", { min }), max !== undefined && t("to {max}", { max }), start !== undefined && start !== "" && t("at first {start}", { start: String(start).slice(0, 60) })].filter(Boolean).join(", ");
}

/** @param {import("../run/api.js").Api} api @param {import("../core/definitions.js").NodeDefinition} definition */
async function own(api, { type, module }) {
  if (!/^custom_nodes/.test(module)) return null; // only packs bring pages; asking for others would only fill the log with what is not there
  for (const file of [`${language()}.md`, "en.md", ""].filter(Boolean)) {
    const response = await api.fetch(`docs/${encodeURIComponent(type)}/${file}`);
    if (response.ok) return response.text();
  }
  return null;
}
