// The node packs of the server: what they bring, what is wrong with them, what of their scripts has no place here; and changing them where that is allowed.

import { el } from "../shell/dom.js";
import { openDialog } from "../shell/dialog.js";
import { t } from "../shell/i18n.js";
import { tellError, toast } from "../shell/toast.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {{name: string, error: string | null, missing: string | null, wanted: string[], nodes: string[], faults: Record<string, string>, seconds: number, web_name: string, traceback: string | null}} Pack */
/** @typedef {{name: string, on: boolean, pinned: boolean, version: string, earlier: string[]}} Installed */

/** @param {App} app */
export async function openPacks(app) {
  const { api } = app;
  const frame = openDialog(t("Node packs"), { class: "wide" });
  const list = el("div", { class: "packs" });
  frame.body.append(list);
  const draw = async () => {
    /** @type {[Pack[], {changes: boolean, packs: Installed[]}]} */
    const [loaded, installed] = await Promise.all([api.get("packs"), api.get("packs/installed").catch(() => ({ changes: false, packs: [] }))]);
    const names = [...new Set([...loaded.map(({ name }) => name), ...installed.packs.map(({ name }) => name)])].sort();
    const scripts = await scriptsOf();
    list.replaceChildren(
      ...(installed.changes ? [upload(app, draw)] : [el("p", { class: "note" }, t("Packs are folders in custom_nodes/. They can be changed from here when the server is started with --allow-pack-changes, and on the machine itself with: python main.py pack."))]),
      ...names.map((name) => drawPack(app, name, loaded.find((each) => each.name === name), installed.packs.find((each) => each.name === name), scripts, installed.changes, draw)),
      ...(names.length ? [] : [el("p", { class: "note" }, t("There are no node packs yet."))]),
    );
  };
  await draw().catch(tellError);
}

/** What was found out about scripts, if there are any. @returns {Promise<import("../compat/report.js").Script[]>} */
async function scriptsOf() {
  return /** @type {any} */ (globalThis).comfyAPI ? [...(await import("../compat/report.js")).scripts.values()] : [];
}

/** @param {App} app @param {string} name @param {Pack | undefined} pack @param {Installed | undefined} place @param {import("../compat/report.js").Script[]} scripts @param {boolean} changes @param {() => Promise<void>} again */
function drawPack(app, name, pack, place, scripts, changes, again) {
  const own = scripts.filter(({ file }) => file.startsWith(`/extensions/${pack?.web_name || name}/`));
  const faults = Object.entries(pack?.faults ?? {});
  const off = place?.on === false;
  const state = off ? t("switched off") : !pack ? t("counts from the next start") : pack.error ? t("could not be loaded") : t("{n} nodes", { n: pack.nodes.length });
  /** @param {string} action @param {string} label */
  const act = (action, label) =>
    el("button", { class: "small", attributes: { type: "button", "aria-label": `${label}: ${name}` }, on: { click: async () => {
      try {
        await app.api.post(`packs/${encodeURIComponent(name)}/${action}`);
        toast(t("This counts from the next start of the server."), { kind: "good" });
        await again();
      } catch (error) {
        tellError(error);
      }
    } } }, label); // prettier-ignore
  const limits = own.filter(({ reasons }) => reasons.length);
  return el(
    "section",
    { class: pack?.error ? "pack bad" : "pack" },
    el(
      "div",
      { class: "row" },
      el("div", { class: "grow" }, el("strong", {}, name), el("span", { class: pack?.error ? "hint problem-text" : "hint soft" }, ` ${state}${place?.version ? ` · ${place.version}` : ""}${place?.pinned ? ` · ${t("pinned")}` : ""}`)),
      ...(changes && place ? [off ? act("enable", t("Switch on")) : act("disable", t("Switch off")), place.pinned ? act("unpin", t("Unpin")) : act("pin", t("Pin")), ...(place.earlier.length ? [act("rollback", t("Go back a version"))] : [])] : []),
    ),
    pack?.error && el("p", { class: "problem-text" }, pack.error),
    pack?.missing && el("p", {}, t("It needs the Python package {name}, which is not installed.", { name: pack.missing }), pack.wanted.length > 0 && el("span", { class: "soft" }, ` ${t("It asks for")}: ${pack.wanted.join(", ")}`)),
    ...faults.map(([id, fault]) => el("p", { class: "soft" }, `${id}: ${fault}`)),
    pack?.traceback && el("details", {}, el("summary", {}, t("For those who wrote it")), el("pre", { class: "log", attributes: { tabindex: 0 } }, pack.traceback)),
    own.length > 0 && el("details", { attributes: { open: limits.length > 0 || null } }, el("summary", {}, limits.length ? t("{n} scripts, {m} of them only in part", { n: own.length, m: limits.length }) : t("{n} scripts", { n: own.length })), ...limits.map(({ file, reasons }) => el("div", { class: "script" }, el("code", {}, file.split("/").slice(3).join("/")), el("ul", {}, ...reasons.map((reason) => el("li", {}, reason)))))),
    pack && pack.nodes.length > 0 && el("details", {}, el("summary", {}, t("Its nodes")), el("p", { class: "soft" }, pack.nodes.join(", "))),
  );
}

/** @param {App} app @param {() => Promise<void>} again */
function upload({ api }, again) {
  const file = el("input", { class: "unseen", attributes: { type: "file", accept: ".zip,.bundle", "aria-label": t("Install a pack from a zip file") } });
  file.addEventListener("change", async () => {
    const [first] = file.files ?? [];
    if (!first) return;
    const form = new FormData();
    form.append("pack", first, first.name);
    form.append("update", "1");
    try {
      const { name } = (await api.request("POST", "packs/install", form)).body;
      toast(t("{name} is in place and counts from the next start of the server.", { name }), { kind: "good" });
      await again();
    } catch (error) {
      tellError(error);
    }
  });
  return el("p", {}, el("label", { class: "button" }, t("Install a pack from a zip file"), file));
}
