// Graphs out of files, wherever they come from: chosen, dropped, pasted, or named by an address.

import { el } from "../shell/dom.js";
import { t } from "../shell/i18n.js";
import { parseJson } from "./json.js";

/** @typedef {import("../shell/app.js").App} App */

const MOST_BYTES = 200 << 20;

/** A file that holds no graph; the message is a sentence. */
export class NoGraph extends Error {
  name = "NoGraph";
}

/**
 * Open a file in a tab. JSON is read here; graphs in pictures and media are found by the server, which knows every container.
 * @param {App} app
 * @param {Blob & {name?: string}} file
 */
export async function importFile(app, file) {
  const name = (file.name ?? "").replace(/\.[^.]*$/, "") || undefined;
  if (file.size > MOST_BYTES) throw new NoGraph(`${file.name ?? "This file"} has ${file.size >> 20} MB; a file with a graph is far smaller.`);
  const head = new Uint8Array(await file.slice(0, 64).arrayBuffer());
  const first = String.fromCharCode(...head).replace(/^\u00ef\u00bb\u00bf/, "").trimStart()[0];
  if (first === "{" || first === "[") {
    const json = parseJson(await file.text());
    app.open(graphIn(json), { name });
    return;
  }
  const { body } = await app.api.request("POST", "workflow/convert", file, { "Content-Type": "application/octet-stream" });
  app.open(body.workflow ?? body.prompt, { name });
}

/**
 * Text that was pasted: a graph as JSON.
 * @param {App} app @param {string} text @returns {boolean} whether it was one
 */
export function importText(app, text) {
  if (!/^\s*\{/.test(text) || !/"(nodes|class_type)"/.test(text)) return false;
  app.open(graphIn(parseJson(text)));
  return true;
}

/**
 * A file the server has, such as an output picture.
 * @param {App} app @param {{filename: string, subfolder?: string, type?: string}} ref
 */
export async function importRef(app, ref) {
  const response = await fetch(app.api.viewUrl(ref));
  if (!response.ok) throw new NoGraph(`${ref.filename} is no longer there.`);
  const blob = await response.blob();
  await importFile(app, new File([blob], ref.filename));
}

/**
 * The file behind an address: of this server as it is, of others by the server, which asks only hosts it may.
 * @param {App} app @param {string} address
 */
export async function importUrl(app, address) {
  const url = new URL(address, location.href);
  const name = decodeURIComponent(url.searchParams.get("filename") ?? url.pathname.split("/").at(-1) ?? "");
  if (url.origin === location.origin) {
    const response = await fetch(url);
    if (!response.ok) throw new NoGraph(`There is nothing at ${url.pathname}.`);
    return importFile(app, new File([await response.blob()], name));
  }
  const body = await app.api.post("workflow/fetch", { url: url.href });
  return app.open(body.workflow ?? body.prompt, { name: name.replace(/\.[^.]*$/, "") || undefined });
}

/** A text that is one address and nothing else. @param {string} text */
function isAddress(text) {
  return /^https?:\/\/\S+$/.test(text.trim());
}

/** Bodies of POST /prompt and history entries hold their graph one level down. @param {any} json */
function graphIn(json) {
  if (json && typeof json === "object" && !Array.isArray(json) && !Array.isArray(json.nodes)) {
    const workflow = json.extra_data?.extra_pnginfo?.workflow ?? json.workflow;
    if (workflow && Array.isArray(workflow.nodes)) return workflow;
    if (json.prompt && typeof json.prompt === "object" && !json.prompt.class_type) return json.prompt;
  }
  return json;
}

/** Let files be dropped on the page and pasted into it. @param {App} app @param {HTMLElement} stage @param {(error: unknown) => void} onError */
export function acceptFiles(app, stage, onError) {
  /** @type {HTMLElement | null} */
  let sign = null;
  const hide = () => {
    sign?.remove();
    sign = null;
  };
  document.addEventListener("dragover", (event) => {
    const { types = [] } = event.dataTransfer ?? {};
    if (types.some((type) => type === "Files" || type === "text/uri-list" || type.startsWith("application/x-emulsion-"))) event.preventDefault();
    if (!types.includes("Files") || sign) return;
    sign = el("div", { class: "drop" }, t("Drop a workflow, or a file that holds one, to open it"));
    stage.append(sign);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && hide());
  document.addEventListener("drop", hide, true);
  document.addEventListener("drop", async (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    const ref = event.dataTransfer?.getData("application/x-emulsion-output");
    const node = event.dataTransfer?.getData("application/x-emulsion-node");
    const model = event.dataTransfer?.getData("application/x-emulsion-model");
    const address = event.dataTransfer?.getData("text/uri-list").split("\n")[0].trim() ?? "";
    if (event.defaultPrevented || (!files.length && !ref && !node && !model && !isAddress(address))) return; // a widget took it
    event.preventDefault();
    try {
      if (node) (await import("../shell/nodes_panel.js")).addAt(app, node, { x: event.clientX, y: event.clientY });
      if (model) {
        const { kind, name } = JSON.parse(model);
        (await import("./model_nodes.js")).addModel(app, kind, name, app.view.canvas?.toGraph(event.clientX, event.clientY));
      }
      if (ref) await importRef(app, JSON.parse(ref));
      for (const file of files) await importFile(app, file);
      if (!files.length && !ref && !node && !model) await importUrl(app, address);
    } catch (error) {
      onError(error);
    }
  });
  document.addEventListener("paste", async (event) => {
    if (event.defaultPrevented || event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return;
    const files = [...(event.clipboardData?.files ?? [])];
    try {
      for (const file of files) await importFile(app, file);
      const text = event.clipboardData?.getData("text/plain") ?? "";
      if (!files.length && isAddress(text)) await importUrl(app, text.trim());
      else if (!files.length && importText(app, text)) event.preventDefault();
    } catch (error) {
      onError(error);
    }
  });
}
