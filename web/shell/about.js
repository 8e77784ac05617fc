// What runs where: versions, devices, what lies in memory and why, and the log as it is written.

import { el } from "./dom.js";
import { openDialog } from "./dialog.js";
import { bytes, t } from "./i18n.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{title: string, dtype: string, resident_bytes: number, total_bytes: number, streamed: number, patches: string, leased: boolean, why: string}} Held  a model in memory */
/** @typedef {{at: number, what: string, seconds: number}} Move */

const MOST_LINES = 2000;
const MOST_MOVES = 20;

/** @param {App} app */
export async function openAbout({ api, actions }) {
  const free = el("button", { attributes: { type: "button" }, on: { click: () => (actions.run("server.free"), frame.close()) } }, t("Free the memory of models and results"));
  const frame = openDialog(t("About this server"), { class: "wide", foot: [free] });
  const log = el("pre", { class: "log", attributes: { tabindex: 0, "aria-label": t("Log") } });
  const [stats, memory, lines] = await Promise.all([api.get("system_stats"), api.get("memory"), api.get("internal/logs/raw")].map((asked) => asked.catch(() => null)));
  const rows = el("table", { class: "plain" });
  /** @param {string} name @param {unknown} value */
  const add = (name, value) => rows.append(el("tr", {}, el("th", { attributes: { scope: "row" } }, name), el("td", {}, String(value))));
  if (stats) {
    add("Python", String(stats.system.python_version).split(" ")[0]);
    add("PyTorch", stats.system.pytorch_version);
    for (const device of stats.devices) add(t("Device"), `${device.name} (${device.type}), ${bytes(device.vram_free)} ${t("free of")} ${bytes(device.vram_total)}`);
    add("RAM", `${bytes(stats.system.ram_free)} ${t("free of")} ${bytes(stats.system.ram_total)}`);
  }
  frame.body.append(rows, ...memoryOf(memory), el("h3", {}, t("Log")), log);
  /** @param {readonly {t: string, m: string}[]} entries */
  const write = (entries) => {
    const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 30;
    log.append(...entries.map(({ t: at, m }) => `${at.slice(11, 19)}  ${m}`));
    while (log.childNodes.length > MOST_LINES) log.firstChild?.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  write(lines?.entries ?? []);
  log.scrollTop = log.scrollHeight;
  /** @param {Event} event */
  const listen = (event) => write(/** @type {CustomEvent} */ (event).detail.entries ?? []);
  const follow = (/** @type {boolean} */ enabled) => api.request("PATCH", "internal/logs/subscribe", { clientId: api.clientId, enabled }).catch(() => {});
  api.addEventListener("logs", listen);
  follow(true);
  await frame.closed;
  api.removeEventListener("logs", listen);
  follow(false);
}

/** What the worker holds, and what it did with it lately. @param {{worker?: {models?: Held[], moves?: Move[]} | null, worker_away?: string} | null} memory @returns {HTMLElement[]} */
function memoryOf(memory) {
  const { models = [], moves = [] } = memory?.worker ?? {};
  const title = el("h3", {}, t("Memory of the worker"));
  if (!memory?.worker) return [title, el("p", { class: "note" }, memory?.worker_away || t("The worker is starting …"))];
  if (!models.length) return [title, el("p", { class: "note" }, t("No model is in memory."))];
  return [
    title,
    el(
      "table",
      { class: "plain" },
      el("tr", {}, ...[t("Model"), t("Size"), t("Kind of numbers"), t("Why it is there")].map((name) => el("th", { attributes: { scope: "col" } }, name))),
      ...models.map(({ title: name, resident_bytes: size, total_bytes: whole, streamed, dtype, why, leased, patches }) => el("tr", {}, el("td", {}, name), el("td", {}, streamed ? t("{here}, and {more} brought when needed", { here: bytes(size), more: bytes(whole - size) }) : bytes(size)), el("td", {}, dtype), el("td", {}, [leased ? t("in use") : "", patches ? t("patched") : "", why].filter(Boolean).join(" · ")))),
    ),
    el("details", {}, el("summary", {}, t("What was moved lately")), el("ul", {}, ...moves.slice(-MOST_MOVES).reverse().map(({ at, what }) => el("li", { class: "soft" }, `${new Date(at * 1000).toLocaleTimeString()}  ${what}`)))),
  ];
}
