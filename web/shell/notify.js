// A note of the system when a run ends and nobody looks at the page, for those who asked for it.

import { t } from "./i18n.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export function announceEnds({ centre, settings, workspace }) {
  settings.subscribe("run.notify", (on) => {
    if (on && "Notification" in globalThis) Notification.requestPermission().catch(() => {});
  });
  centre.addEventListener("ended", (event) => {
    const { job } = /** @type {CustomEvent} */ (event).detail;
    if (!document.hidden || !settings.get("run.notify") || !("Notification" in globalThis) || Notification.permission !== "granted" || job.state === "cancelled") return;
    const name = workspace.tabs.find(({ key }) => key === job.document)?.name ?? "Emulsion";
    const note = new Notification(`${job.state === "done" ? t("Done") : t("Failed")}: ${name}`, { tag: job.id });
    note.onclick = () => window.focus();
  });
}
