// The list of what a workflow lacks here, with what could stand in for it.

import { setWidget } from "../core/commands/nodes.js";
import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { findMissing } from "./missing.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("../session.js").Session} Session */

/** @param {App} app @param {Session} session @param {boolean} [asked]  also when nothing is missing */
export function openMissing(app, session, asked = false) {
  const { types, files } = findMissing(session);
  if (!types.length && !files.length && !asked) return;
  const frame = openDialog(t("Missing models and nodes"));
  if (!types.length && !files.length) frame.body.append(el("p", {}, t("Nothing is missing: this server has every node and file of this workflow.")));
  if (files.length) {
    frame.body.append(el("h3", {}, t("Files")));
    for (const file of files) frame.body.append(drawFile(session, file));
  }
  if (types.length) {
    frame.body.append(
      el("h3", {}, t("Nodes")),
      el("p", { class: "soft" }, t("These nodes are kept with their values and links, but cannot run here.")),
      el("ul", {}, ...types.map(({ type, pack, nodes }) => el("li", {}, el("strong", {}, type), ` × ${nodes.length}`, pack ? ` · ${t("from the pack {pack}", { pack })}` : ""))),
    );
  }
}

/** @param {Session} session @param {import("./missing.js").MissingFile} file */
function drawFile(session, { name, input, folder, url, near, choices, places }) {
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
  select.addEventListener("change", () => {
    if (!select.value) return;
    session.document.edit("Replace a missing file", () => {
      for (const { graph, id, type } of places) {
        const definition = session.definitions.get(type);
        if (definition) setWidget(session.document, graph, id, definition, input, select.value);
      }
    });
    mark.textContent = t("Replaced.");
  });
  return el(
    "div",
    { class: "setting" },
    el("div", {}, el("strong", {}, name), el("span", { class: "hint" }, folder ? t("belongs into models/{folder}", { folder }) : input, ` · ${t("{n} nodes", { n: places.length })}`), /^https:\/\//.test(url) && el("a", { attributes: { href: url, target: "_blank", rel: "noopener noreferrer" } }, t("Where it comes from"))),
    el("div", { class: "control" }, select, mark),
  );
}
