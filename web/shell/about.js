// What runs where: versions, devices, memory by model, and the log.

import { el } from "./dom.js";
import { openDialog } from "./dialog.js";
import { bytes, t } from "./i18n.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export async function openAbout({ api }) {
  const frame = openDialog(t("About this server"), { class: "wide" });
  const [stats, memory, log] = await Promise.all([api.get("system_stats"), api.get("memory"), api.get("internal/logs")].map((asked) => asked.catch(() => null)));
  const rows = el("table", { class: "plain" });
  /** @param {string} name @param {unknown} value */
  const add = (name, value) => rows.append(el("tr", {}, el("th", { attributes: { scope: "row" } }, name), el("td", {}, String(value))));
  if (stats) {
    add("Python", String(stats.system.python_version).split(" ")[0]);
    add("PyTorch", stats.system.pytorch_version);
    for (const device of stats.devices) add(t("Device"), `${device.name} (${device.type}), ${bytes(device.vram_free)} ${t("free of")} ${bytes(device.vram_total)}`);
    add("RAM", `${bytes(stats.system.ram_free)} ${t("free of")} ${bytes(stats.system.ram_total)}`);
  }
  frame.body.append(rows);
  if (memory?.worker) frame.body.append(el("h3", {}, t("Memory of the worker")), el("pre", { class: "log", attributes: { tabindex: 0 } }, memory.worker.text));
  frame.body.append(el("h3", {}, t("Log")), el("pre", { class: "log", attributes: { tabindex: 0, "aria-label": t("Log") } }, typeof log === "string" ? log.slice(-40_000) : t("The log could not be read.")));
}
