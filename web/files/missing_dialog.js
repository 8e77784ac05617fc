// The list of what a workflow lacks here, with what could stand in for it, what is the same file under another name, and where to fetch it.

import { setWidget } from "../core/commands/nodes.js";
import { toPrompt } from "../format/prompt.js";
import { writeWorkflow } from "../format/workflow.js";
import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { t } from "../shell/i18n.js";
import { fetchButton } from "./downloads.js";
import { findMissing } from "./missing.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("./missing.js").MissingFile} MissingFile */
/** @typedef {{node: string, input: string, wanted: string, chosen: string | null, how: string, note: string}} Found  of POST /workflow/models */

/** @param {App} app @param {Session} session @param {boolean} [asked]  also when nothing is missing */
export function openMissing(app, session, asked = false) {
  const { types, files } = findMissing(session);
  if (!types.length && !files.length && !asked) return;
  const frame = openDialog(t("Missing models and nodes"), { class: "wide" });
  if (!types.length && !files.length) frame.body.append(el("p", {}, t("Nothing is missing: this server has every node and file of this workflow.")));
  if (files.length) {
    const rows = files.map((file) => drawFile(app, session, file));
    const found = el("p");
    frame.body.append(el("h3", {}, t("Files")), found, ...rows.map(({ element }) => element));
    suggest(app, session, files).then((chosen) => {
      if (!chosen.size) return;
      for (const { file, offer } of rows) offer(chosen.get(file) ?? null);
      const all = () => {
        session.document.edit("Replace missing files", () => {
          for (const { file, use } of rows) {
            const its = chosen.get(file)?.chosen;
            if (its) use(its);
          }
        });
      };
      found.append(el("button", { class: "primary", attributes: { type: "button" }, on: { click: all } }, t("Use what was found for {n} of them", { n: chosen.size })));
    }, () => {});
  }
  if (types.length) {
    frame.body.append(
      el("h3", {}, t("Nodes")),
      el("p", { class: "soft" }, t("These nodes are kept with their values and links, but cannot run here.")),
      el("ul", {}, ...types.map(({ type, pack, source, nodes }) => el("li", {}, el("strong", {}, type), ` × ${nodes.length}`, pack ? ` · ${t("from the pack {pack}", { pack })}` : "", source && " · ", source && el("a", { attributes: { href: source, target: "_blank", rel: "noopener noreferrer" } }, t("Where it comes from"))))),
      el("p", { class: "soft" }, types.some(({ pack }) => pack) ? t("To have them: put the folder of the pack into custom_nodes/, or its zip file in place under Node packs or with: python main.py pack install FILE. Then start the server again.") : t("The file does not say which pack brings them; whoever made the workflow knows.")),
      el("p", {}, el("button", { attributes: { type: "button" }, on: { click: () => (frame.close(), app.actions.run("view.packs")) } }, t("Node packs"))),
    );
  }
}

/** Ask the server which of its files are meant: in another folder, spelt another way, or the same by their hash. @param {App} app @param {Session} session @param {readonly MissingFile[]} files @returns {Promise<Map<MissingFile, Found>>} */
async function suggest(app, session, files) {
  const { prompt } = toPrompt(session.document, session.definitions);
  /** @type {{models: Found[]}} */
  const { models } = await app.api.post("workflow/models", { prompt, workflow: writeWorkflow(session.document) });
  return new Map(files.flatMap((file) => {
    const found = models.find(({ input, wanted, chosen }) => input === file.input && wanted === file.name && chosen !== null && file.choices.includes(chosen));
    return found ? [/** @type {const} */ ([file, found])] : [];
  }));
}

/** @param {App} app @param {Session} session @param {MissingFile} file */
function drawFile(app, session, file) {
  const { name, input, folder, url, hash, near, choices, places } = file;
  const rest = choices.filter((choice) => typeof choice === "string" && !near.includes(choice)).map(String);
  const select = el(
    "select",
    { attributes: { "aria-label": t("Use instead of {name}", { name }) } },
    el("option", { attributes: { value: "" } }, choices.length ? t("Use another file …") : t("There is no such file here")),
    near.length > 0 && el("optgroup", { attributes: { label: t("Near matches") } }, ...near.map((choice) => el("option", { attributes: { value: choice } }, choice))),
    rest.length > 0 && el("optgroup", { attributes: { label: t("All") } }, ...rest.map((choice) => el("option", { attributes: { value: choice } }, choice))),
  );
  const mark = el("span", { class: "soft", attributes: { role: "status" } });
  select.disabled = !choices.length;
  /** @param {string} value */
  const use = (value) => {
    session.document.edit("Replace a missing file", () => {
      for (const { graph, id, type } of places) {
        const definition = session.definitions.get(type);
        if (definition) setWidget(session.document, graph, id, definition, input, value);
      }
    });
    select.value = value;
    mark.textContent = t("Replaced.");
  };
  select.addEventListener("change", () => select.value && use(select.value));
  const note = el("span", { class: "hint" });
  const element = el(
    "div",
    { class: "setting" },
    el("div", {}, el("strong", {}, name), el("span", { class: "hint" }, folder ? t("belongs into models/{folder}", { folder }) : input, ` · ${t("{n} nodes", { n: places.length })}`), note, /^https:\/\//.test(url) && el("a", { attributes: { href: url, target: "_blank", rel: "noopener noreferrer" } }, t("Where it comes from"))),
    el("div", { class: "control" }, select, /^https:\/\//.test(url) && folder && fetchButton(app, { url, kind: folder, name, sha256: hash }, () => (mark.textContent = t("It is here now."))), mark),
  );
  /** @param {Found | null} found */
  const offer = (found) => void (note.textContent = found ? found.note : "");
  return { element, file, use, offer };
}
