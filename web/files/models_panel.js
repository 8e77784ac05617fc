// The model files of the server by folder: sizes, pictures, what they say of themselves, and dragging them into the graph.

import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { ago, bytes, t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { ranked } from "../shell/match.js";
import { tellError, toast } from "../shell/toast.js";
import { addModel } from "./model_nodes.js";
import { openFile } from "./files_panel.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {{name: string, pathIndex: number, size?: number, modified?: number, cover?: boolean}} ModelFile */

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
        const files = await api.get(`experiment/models/${encodeURIComponent(name)}`, { covers: 1 });
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
    tools: [
      el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": t("Fetch a model"), title: t("Fetch a model") }, on: { click: async () => (await import("./downloads.js")).openDownloads(app, (await api.get("experiment/models")).map((/** @type {{name: string}} */ { name }) => name)) } }, icon("download", 16)),
      el("button", { class: "quiet small square", attributes: { type: "button", "aria-label": t("Read again"), title: t("Read again") }, on: { click: () => app.actions.run("server.refresh") } }, icon("again", 16)),
    ],
    destroy: () => document.removeEventListener("emulsion-refreshed", read),
  };
}

/** @param {App} app @param {string} kind @param {ModelFile} file */
function drawModel(app, kind, file) {
  const users = app.workspace.tabs.filter((tab) => uses(tab.session.document, file.name)).map((tab) => tab.name);
  const row = el(
    "div",
    { class: "card", attributes: { draggable: "true" } },
    cover(app, kind, file),
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
  const frame = openDialog(file.name, { class: "wide" });
  const list = el("dl");
  /** @param {string} name @param {unknown} value */
  const add = (name, value) => list.append(el("dt", {}, name), el("dd", {}, typeof value === "string" ? value : JSON.stringify(value)));
  add(t("Folder"), kind);
  if (file.size !== undefined) add(t("Size"), bytes(file.size));
  if (file.modified) add(t("Changed"), ago(file.modified * 1000));
  const hash = el("dd", {}, el("button", { class: "small", attributes: { type: "button" }, on: { click: () => {
    hash.textContent = t("Reading the file …");
    app.api.get(`models/${encodeURIComponent(kind)}/about`, { name: file.name, hash: 1 }).then(({ sha256 }) => (hash.textContent = sha256), tellError);
  } } }, t("Work it out"))); // prettier-ignore
  list.append(el("dt", {}, "SHA-256"), hash);
  const picture = cover(app, kind, file, 260);
  frame.body.append(el("div", { class: "model" }, picture, el("div", { class: "viewer about" }, list)), el("p", {}, el("button", { class: "primary", attributes: { type: "button" }, on: { click: () => (addModel(app, kind, file.name), frame.close()) } }, t("Add to the graph"))));
  const known = await app.api.get(`models/${encodeURIComponent(kind)}/about`, { name: file.name });
  if (known.sha256) hash.textContent = known.sha256;
  if (known.folder) add(t("Place"), known.folder);
  list.append(
    el("dt", {}, t("Used in")),
    known.workflows.length ? el("dd", {}, ...known.workflows.map((/** @type {string} */ path) => el("button", { class: "small quiet", attributes: { type: "button" }, on: { click: () => (frame.close(), openFile(app, path).catch(tellError)) } }, path.replace(/\.json$/, "")))) : el("dd", { class: "soft" }, t("no saved workflow")),
  );
  const found = known.metadata;
  if (!found || !Object.keys(found).length) {
    if (file.name.endsWith(".safetensors")) add(t("Metadata"), t("The file says nothing about itself."));
    return;
  }
  const words = triggers(found);
  if (words.length) {
    list.append(
      el("dt", {}, t("Trigger words")),
      el("dd", {}, words.join(", "), " ", el("button", { class: "small", attributes: { type: "button" }, on: { click: () => navigator.clipboard?.writeText(words.join(", ")).then(() => toast(t("Copied."), { kind: "good", seconds: 2 }), tellError) } }, t("Copy"))),
    );
  }
  for (const [name, value] of Object.entries(found)) if (name !== "modelspec.thumbnail" && name !== "ss_tag_frequency") add(name, String(value).slice(0, 2000));
}

/** The picture of a model, where it has one: beside the file, or inside. @param {App} app @param {string} kind @param {ModelFile} file @param {number} [size] */
function cover({ api }, kind, file, size = 0) {
  const box = el("span", { class: size ? "cover" : "thumb" }, icon("models", size ? 48 : 18));
  if (!file.cover) return box;
  box.replaceChildren(el("img", { attributes: { alt: "", loading: "lazy", src: api.url(`experiment/models/preview/${encodeURIComponent(kind)}/${file.pathIndex}/${file.name.split("/").map(encodeURIComponent).join("/")}`).href } }));
  return box;
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
