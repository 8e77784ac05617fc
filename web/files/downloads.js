// Fetching model files: asking the server to, and showing how far it is.

import { openDialog } from "../shell/dialog.js";
import { el, freshId } from "../shell/dom.js";
import { bytes, t } from "../shell/i18n.js";
import { tellError } from "../shell/toast.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {{id: string, url: string, kind: string, name: string, state: "waiting" | "running" | "done" | "failed" | "cancelled", received: number, total: number | null, error: string}} Download */

const LOOK_EVERY_MS = 1000;

/**
 * A button that fetches a file, and becomes the progress of that.
 * @param {App} app @param {{url: string, kind: string, name: string, sha256?: string}} wanted @param {() => unknown} onDone
 */
export function fetchButton(app, wanted, onDone) {
  const box = el("span", { class: "row" });
  const start = async () => {
    try {
      const { sha256, ...rest } = wanted;
      follow(app, box, await app.api.post("downloads", sha256 && /^[0-9a-f]{64}$/i.test(sha256) ? wanted : rest), onDone);
    } catch (error) {
      tellError(error);
    }
  };
  box.append(el("button", { class: "small", attributes: { type: "button", title: wanted.url, "aria-label": t("Fetch {name}", { name: wanted.name }) }, on: { click: start } }, t("Fetch")));
  return box;
}

/** Show a download until it ends. @param {App} app @param {HTMLElement} box @param {Download} download @param {() => unknown} onDone */
function follow(app, box, download, onDone) {
  const bar = el("progress", { attributes: { max: 1, "aria-label": t("Fetching {name}", { name: download.name }) }, set: { value: 0 } });
  const words = el("span", { class: "soft", attributes: { role: "status" } });
  const stop = el("button", { class: "small", attributes: { type: "button" }, on: { click: () => app.api.delete(`downloads/${download.id}`).catch(tellError) } }, t("Stop"));
  box.replaceChildren(bar, words, stop);
  /** @param {Download} now */
  const draw = (now) => {
    bar.value = now.total ? now.received / now.total : 0;
    words.textContent = { waiting: t("Waiting"), running: now.total ? `${bytes(now.received)} / ${bytes(now.total)}` : bytes(now.received), done: t("Done"), failed: now.error || t("Failed"), cancelled: t("Cancelled") }[now.state];
    words.className = now.state === "failed" ? "problem-text" : "soft";
    const over = now.state !== "waiting" && now.state !== "running";
    bar.hidden = stop.hidden = over;
    return over;
  };
  draw(download);
  const timer = setInterval(async () => {
    if (!box.isConnected) return clearInterval(timer);
    /** @type {Download[]} */
    const all = await app.api.get("downloads").catch(() => []);
    const now = all.find(({ id }) => id === download.id);
    if (!now || !draw(now)) return;
    clearInterval(timer);
    if (now.state !== "done") return;
    app.actions.run("server.refresh");
    onDone();
  }, LOOK_EVERY_MS);
}

/** Fetch a model by its address; and what is being fetched. @param {App} app @param {readonly string[]} kinds */
export async function openDownloads(app, kinds) {
  const ids = { url: freshId("fetch"), kind: freshId("fetch"), name: freshId("fetch"), sha256: freshId("fetch") };
  const url = el("input", { id: ids.url, attributes: { type: "url", placeholder: "https://", spellcheck: "false", autofocus: true } });
  const kind = el("select", { id: ids.kind }, ...kinds.map((each) => el("option", { attributes: { value: each } }, each)));
  const name = el("input", { id: ids.name, attributes: { type: "text", spellcheck: "false" } });
  const sha256 = el("input", { id: ids.sha256, attributes: { type: "text", spellcheck: "false" } });
  url.addEventListener("input", () => {
    if (!name.value || name.dataset.own === undefined) name.value = decodeURIComponent(url.value.split(/[?#]/)[0].split("/").at(-1) ?? "");
  });
  name.addEventListener("input", () => (name.dataset.own = ""));
  const list = el("div");
  /** @param {Download} download */
  const row = (download) => {
    const box = el("span", { class: "row" });
    follow(app, box, download, () => {});
    return el("div", { class: "setting" }, el("div", {}, download.name, el("span", { class: "hint" }, `${download.kind} · ${download.url}`)), box);
  };
  const start = async () => {
    try {
      list.prepend(row(await app.api.post("downloads", { url: url.value.trim(), kind: kind.value, name: name.value.trim(), ...(sha256.value.trim() ? { sha256: sha256.value.trim() } : {}) })));
      url.value = name.value = sha256.value = "";
      delete name.dataset.own;
    } catch (error) {
      tellError(error);
    }
  };
  /** @param {string} label @param {HTMLElement} field @param {string} [hint] */
  const line = (label, field, hint) => el("div", { class: "setting" }, el("div", {}, el("label", { attributes: { for: field.id } }, label), hint && el("span", { class: "hint" }, hint)), el("div", { class: "control" }, field));
  openDialog(
    t("Fetch a model"),
    { class: "wide", foot: [el("button", { class: "primary", attributes: { type: "button" }, on: { click: start } }, t("Fetch"))] },
    el("p", { class: "soft" }, t("The server fetches it, goes on where it stopped, and shows it only when it is whole. Hosts are allowed with --download-hosts.")),
    line(t("Address"), url), line(t("Folder"), kind), line(t("Name"), name), line("SHA-256", sha256, t("Where the page of the model says it: the file must have it")),
    el("h3", {}, t("This start of the server")), list,
  );
  /** @type {Download[]} */
  const known = await app.api.get("downloads").catch(() => []);
  list.append(...known.reverse().map(row));
}

