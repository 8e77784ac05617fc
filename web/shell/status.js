// The line at the bottom: connection, what runs and how far it is, memory; and the same in the tab's title and icon.

import { el, soon } from "./dom.js";
import { bytes, duration, t } from "./i18n.js";

/** @typedef {import("./app.js").App} App */

const MEMORY_EVERY_MS = 10_000;

/** @param {App} app @returns {HTMLElement} */
export function createStatus(app) {
  const { api, centre, queue, workspace } = app;
  const dot = el("span", { class: "dot warn", attributes: { "aria-hidden": "true" } });
  const words = el("span", { id: "connection", attributes: { role: "status" } }, t("Connecting …"));
  const doing = el("span", { id: "progress-label", class: "grow" });
  const bar = el("progress", { id: "progress", attributes: { max: 1, "aria-label": t("Progress of the run") }, set: { value: 0 } });
  const waiting = el("span", { class: "wide" });
  const memory = el("span", { class: "wide" });
  let ended = "";
  let ready = true;

  const draw = soon(() => {
    const open = api.connection === "open";
    dot.className = `dot ${open ? (ready ? "" : "warn") : "bad"}`;
    words.textContent = open ? (ready ? t("Connected") : t("The worker is starting …")) : api.connection === "lost" ? t("Connection lost, trying again …") : t("Connecting …");
    const share = centre.share;
    bar.hidden = share === null;
    bar.value = share ?? 0;
    doing.textContent = share !== null ? saying(centre) : queue.remaining ? t("Waiting in the queue") : ended;
    waiting.textContent = queue.remaining > 1 ? t("{n} in the queue", { n: queue.remaining }) : "";
    const name = workspace.active ? `${workspace.active.session.document.dirty ? "• " : ""}${workspace.active.name} · Emulsion` : "Emulsion";
    document.title = share !== null ? `${Math.round(share * 100)} % · ${name}` : name;
    drawIcon(share);
  });
  centre.addEventListener("jobs", draw);
  centre.addEventListener("ended", (event) => {
    const { job } = /** @type {CustomEvent} */ (event).detail;
    ended = { done: t("Done"), cancelled: t("Cancelled"), failed: t("Failed"), gone: t("Gone from the queue") }[/** @type {"done"} */ (job.state)] ?? "";
    draw();
  });
  queue.addEventListener("change", draw);
  api.addEventListener("connection", draw);
  workspace.addEventListener("tabs", draw);

  const look = async () => {
    if (document.hidden || api.connection !== "open") return;
    try {
      const { devices, system } = await api.get("system_stats");
      const device = devices[0] ?? {};
      memory.textContent = `${device.type && device.type !== "cpu" ? `${device.type.toUpperCase()} ${bytes(device.vram_total - device.vram_free)} / ${bytes(device.vram_total)} · ` : ""}RAM ${bytes(system.ram_total - system.ram_free)} / ${bytes(system.ram_total)}`;
      memory.title = String(device.name ?? "");
      const health = await api.fetch("health/live");
      ready = health.ok;
    } catch {
      memory.textContent = "";
    }
    draw();
  };
  setInterval(look, MEMORY_EVERY_MS);
  api.addEventListener("connection", look);
  draw();
  return el("footer", { class: "status", attributes: { "aria-label": t("Status") } }, el("span", {}, dot, words), doing, waiting, bar, memory);
}

/** What runs, and how long it will take where that can be told. @param {import("../run/centre.js").RunCentre} centre */
function saying(centre) {
  const { left } = centre;
  return (centre.saying || t("Starting …")) + (left !== null && left >= 2 ? ` · ${t("about {time} left", { time: duration(Math.ceil(left)) })}` : "");
}

let drawn = "";

/** The page's icon with a ring that fills. @param {number | null} share */
function drawIcon(share) {
  const link = /** @type {HTMLLinkElement | null} */ (document.getElementById("icon"));
  const step = share === null ? "" : String(Math.round(share * 16));
  if (!link || step === drawn) return;
  drawn = step;
  if (share === null) {
    link.href = new URL("../icon.svg", import.meta.url).href;
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.lineWidth = 6;
  for (const [end, colour] of /** @type {[number, string][]} */ ([[1, "#8886"], [share, "#7c5cff"]])) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.arc(16, 16, 12, -Math.PI / 2, -Math.PI / 2 + end * 2 * Math.PI);
    pen.stroke();
  }
  link.href = canvas.toDataURL();
}
