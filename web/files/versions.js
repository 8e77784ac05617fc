// Earlier states of a workflow, one for every saving, to look at and to go back to.

import { readWorkflow } from "../format/workflow.js";
import { differences } from "./difference.js";
import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { bytes, t, language } from "../shell/i18n.js";
import { tellError, toast } from "../shell/toast.js";

/** @typedef {import("../shell/app.js").App} App */

/** @param {App} app @param {import("./workspace.js").Tab} tab */
export async function showVersions(app, tab) {
  if (!tab.path) return;
  const { path } = tab;
  const versions = await app.store.versions(path);
  const frame = openDialog(t("Earlier versions of {name}", { name: tab.name }), { class: "wide" });
  if (!versions.length) frame.body.append(el("p", { class: "note" }, t("Every saving keeps a version. There is none yet.")));
  for (const { id, at, size } of versions) {
    const load = (/** @type {(json: unknown) => void} */ use) => async () => {
      try {
        use(await app.store.readVersion(path, id));
        frame.close();
      } catch (error) {
        tellError(error);
      }
    };
    const changes = el("div", { class: "changes", attributes: { "aria-live": "polite" } });
    frame.body.append(
      el(
        "div",
        { class: "card" },
        el("span", { class: "what" }, el("span", {}, new Date(at).toLocaleString(language())), el("span", { class: "sub" }, bytes(size))),
        el("button", { class: "small", attributes: { type: "button" }, on: { click: async () => {
          try {
            const { document: then } = readWorkflow(await app.store.readVersion(path, id));
            const said = differences(then, tab.session.document, tab.session.definitions);
            changes.replaceChildren(...(said.length ? [el("ul", {}, ...said.map((each) => el("li", {}, each)))] : [el("p", { class: "note" }, t("Nothing is different."))]));
          } catch (error) {
            tellError(error);
          }
        } } }, t("What changed since")), // prettier-ignore
        el("button", { class: "small", attributes: { type: "button" }, on: { click: load((json) => app.open(json, { name: `${tab.name} ${new Date(at).toLocaleString(language())}` })) } }, t("Open beside")),
        el("button", {
          class: "small primary",
          attributes: { type: "button" },
          on: {
            click: load((json) => {
              app.workspace.replace(tab, json);
              toast(t("This is the earlier version; save to keep it."), { kind: "good" });
            }),
          },
        }, t("Go back to it")),
      ),
      changes,
    );
  }
}
