// The model files of the server by folder: sizes, pictures, what they say of themselves, and dragging them into the graph.

import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { ago, bytes, t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { ranked } from "../shell/match.js";
import { tellError } from "../shell/toast.js";
import { addModel } from "./model_nodes.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {{name: string, pathIndex: number, size?: number, modified?: number}} ModelFile */

/** @param {App} app @returns {import("../shell/side.js").Panel} */
export function create(app) {
  const { api } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the models"), placeholder: t("Search the models") } });
  const list = el("div");
  /** @type {Map<string, ModelFile[]>} */
  const kinds = new Map();

  const draw = () => {
    const words = search.value;
    const shown = [...kinds].map(([kind, files]) => /** @type {const} */ ([kind, ranked(words, files, ({ name }) => name)])).filter(([, files]) => files.length);
    list.replaceChildren(
      ...shown.map(([kind, files]) =>
        el("details", { class: "folder", attributes: { open: Boolean(words.trim()) || kind === "checkpoints" || kind === "loras" || null } }, el("summary", {}, `${kind} (${files.length})`), el("div", {}, ...files.slice(0, 300).map((file) => drawModel(app, kind, file)))),
      ),
    );
    if (!shown.length) list.append(el("p", { class: "note" }, kinds.size ? t("Nothing fits the search.") : t("No model files were found. Put them into the folders below models/.")));
  };
  const read = async () => {
    try {
      const folders = await api.get("experiment/models");
      kinds.clear();
      await Promise.all(folders.map(async (/** @type {{name: string}} */ { name }) => {
        const files = await api.get(`experiment/models/${encodeURIComponent(name)}`);
        if (files?.length) kinds.set(name, files);
      }));
      draw();
    } catch (error) {
      tellError(error);
    }
  };
  search.addEventListener("input", draw);
  document.addEventListener("emulsion-refreshed", read);
  read();
  return {
    element: el("div", {}, el("div", { class: "search" }, search), list),
    tools: [el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": t("Read again"), title: t("Read again") }, on: { click: () => app.actions.run("server.refresh") } }, icon("again", 16))],
    destroy: () => document.removeEventListener("emulsion-refreshed", read),
  };
}

/** @param {App} app @param {string} kind @param {ModelFile} file */
function drawModel(app, kind, file) {
  const users = app.workspace.tabs.filter((tab) => uses(tab.session.document, file.name)).map((tab) => tab.name);
  const row = el(
    "div",
    { class: "card", attributes: { draggable: "true" } },
    icon("models"),
    el("button", { class: "quiet what grow", attributes: { type: "button", draggable: "true", title: file.name }, on: { click: () => about(app, kind, file).catch(tellError) } }, el("span", {}, file.name), el("span", { class: "sub" }, [file.size !== undefined ? bytes(file.size) : "", users.length ? t("used in {names}", { names: users.join(", ") }) : ""].filter(Boolean).join(" · "))),
    el("span", { class: "tools" }, el("button", { class: "small square", attributes: { type: "button", "aria-label": t("Add {name} to the graph", { name: file.name }), title: t("Add to the graph") }, on: { click: () => addModel(app, kind, file.name) } }, icon("plus", 16))),
  );
  row.addEventListener("dragstart", (event) => event.dataTransfer?.setData("application/x-emulsion-model", JSON.stringify({ kind, name: file.name })));
  return row;
}

/** @param {import("../core/document.js").Document} document @param {string} name */
function uses(document, name) {
  return ["root", ...document.definitions].some((graph) => [...document.graph(graph).nodes.values()].some(({ widgets_values: values }) => Object.values(values ?? {}).includes(name)));
}

/** @param {App} app @param {string} kind @param {ModelFile} file */
async function about(app, kind, file) {
  const frame = openDialog(file.name);
  const list = el("dl");
  /** @param {string} name @param {unknown} value */
  const add = (name, value) => list.append(el("dt", {}, name), el("dd", {}, typeof value === "string" ? value : JSON.stringify(value)));
  add(t("Folder"), kind);
  if (file.size !== undefined) add(t("Size"), bytes(file.size));
  if (file.modified) add(t("Changed"), ago(file.modified * 1000));
  frame.body.append(el("div", { class: "viewer about" }, list), el("p", {}, el("button", { class: "primary", attributes: { type: "button" }, on: { click: () => (addModel(app, kind, file.name), frame.close()) } }, t("Add to the graph"))));
  if (!file.name.endsWith(".safetensors")) return;
  const response = await app.api.fetch(`models/${encodeURIComponent(kind)}`); // the listing is there; metadata may be absent, which is no error worth a line in the console
  if (!response.ok) return;
  const found = await app.api.get(`view_metadata/${encodeURIComponent(kind)}`, { filename: file.name }).catch(() => null);
  if (!found || !Object.keys(found).length) {
    add(t("Metadata"), t("The file says nothing about itself."));
    return;
  }
  const words = triggers(found);
  if (words.length) add(t("Trigger words"), words.join(", "));
  const hash = found["modelspec.hash_sha256"] ?? found.sshs_model_hash;
  if (hash) add(t("Hash"), hash);
  for (const [name, value] of Object.entries(found)) if (name !== "modelspec.thumbnail" && name !== "ss_tag_frequency") add(name, String(value).slice(0, 2000));
}

/** The words a LoRA was trained with most often. @param {Record<string, unknown>} metadata @returns {string[]} */
export function triggers(metadata) {
  const said = metadata["modelspec.trigger_phrase"] ?? metadata.trigger_words;
  if (typeof said === "string" && said) return [said];
  try {
    /** @type {Record<string, Record<string, number>>} */
    const folders = JSON.parse(String(metadata.ss_tag_frequency ?? "{}"));
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const tags of Object.values(folders)) for (const [tag, count] of Object.entries(tags)) counts.set(tag.trim(), (counts.get(tag.trim()) ?? 0) + count);
    return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 12).map(([tag]) => tag);
  } catch {
    return [];
  }
}
