// What runs, what waits, and what was: with pictures, search, and everything that can be done with a job.

import { el, keyed, soon } from "../shell/dom.js";
import { choose } from "../shell/dialog.js";
import { ago, duration, t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { tellError } from "../shell/toast.js";
import { outputsOf } from "./outputs.js";
import { caption, tookSeconds } from "./queue.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("./queue.js").Waiting} Waiting */
/** @typedef {import("./queue.js").Past} Past */

/** @param {App} app @returns {import("../shell/side.js").Panel} */
export function create(app) {
  const { queue, centre, actions } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the history"), placeholder: t("Search the history") } });
  const waiting = el("ul", { id: "queue", class: "plain" });
  const none = el("p", { class: "note" }, t("Nothing is waiting."));
  const history = el("ul", { id: "history", class: "plain" });
  const empty = el("p", { class: "note" });
  const more = el("button", { class: "quiet", attributes: { type: "button" }, on: { click: () => queue.more() } }, t("Show more"));

  const draw = soon(() => {
    none.hidden = queue.waiting.length > 0;
    keyed(waiting, queue.waiting, (job) => `${job.id}${job.running}`, (job) => drawWaiting(app, job), (element, job) => updateWaiting(app, element, job));
    const words = search.value.trim().toLowerCase();
    const found = words ? queue.history.filter((job) => searchable(job).includes(words)) : queue.history;
    keyed(history, found, (job) => job.id, (job) => drawPast(app, job));
    empty.hidden = found.length > 0;
    empty.textContent = words ? t("Nothing fits the search.") : t("No runs yet. Press Run, and what comes out is listed here.");
    more.hidden = !queue.hasMore;
  });
  search.addEventListener("input", draw);
  queue.addEventListener("change", draw);
  centre.addEventListener("jobs", draw);
  queue.watched = true;
  queue.refresh();
  draw();

  const clear = el("button", {
    class: "quiet small square",
    attributes: { type: "button", "aria-label": t("Clear the history"), title: t("Clear the history") },
    on: {
      click: async () => {
        const answer = await choose(t("Clear the history?"), t("The list is emptied. Pictures that were saved stay where they are."), [{ answer: "yes", label: t("Clear"), kind: "danger" }]);
        if (answer) await queue.forgetAll().catch(tellError);
      },
    },
  }, icon("trash", 16));
  const stop = el("button", { class: "quiet small", attributes: { type: "button" }, on: { click: () => actions.run("run.cancelAll") } }, t("Cancel all"));
  return {
    element: el("div", {}, el("div", { class: "row" }, el("h3", { class: "grow" }, t("Now")), stop), waiting, none, el("h3", {}, t("History")), el("div", { class: "search" }, search), history, empty, more),
    tools: [clear],
    destroy: () => {
      queue.watched = false;
      queue.removeEventListener("change", draw);
      centre.removeEventListener("jobs", draw);
    },
  };
}

/** @param {Past} job */
function searchable(job) {
  return `${JSON.stringify(Object.values(job.prompt).map(({ class_type, inputs }) => [class_type, inputs]))} ${job.id}`.toLowerCase();
}

/** @param {string} name @param {string} label @param {() => unknown} run */
function tool(name, label, run) {
  return el("button", { class: "small square", attributes: { type: "button", "aria-label": label, title: label }, on: { click: () => Promise.resolve(run()).catch(tellError) } }, icon(name, 16));
}

/** @param {App} app @param {Waiting} job */
function drawWaiting(app, job) {
  const { queue, centre } = app;
  const words = caption(job.prompt) || t("A graph without a prompt");
  const tools = job.running
    ? [tool("close", `${t("Cancel")}: ${words}`, () => centre.cancel(job.id))]
    : [
        tool("up", `${t("Earlier")}: ${words}`, () => move(app, job.id, -1)),
        tool("down", `${t("Later")}: ${words}`, () => move(app, job.id, 1)),
        tool("load", `${t("Open this graph")}: ${words}`, () => openGraph(app, job)),
        tool("edit", `${t("Take it back to change it")}: ${words}`, async () => {
          openGraph(app, job);
          await (centre.jobs.has(job.id) ? centre.cancel(job.id) : queue.remove([job.id]));
        }),
        tool("close", `${t("Remove")}: ${words}`, () => (centre.jobs.has(job.id) ? centre.cancel(job.id) : queue.remove([job.id]))),
      ];
  const row = el(
    "li",
    { class: "card", attributes: { draggable: job.running ? null : "true" } },
    el("span", { class: "thumb" }, icon(job.running ? "run" : "queue")),
    el("span", { class: "what" }, el("span", { attributes: { title: words } }, words), el("span", { class: "sub" }), el("progress", { attributes: { max: 1, "aria-label": t("Progress of the run") }, set: { value: 0 } })),
    el("span", { class: "tools" }, ...tools),
  );
  row.addEventListener("dragstart", (event) => event.dataTransfer?.setData("application/x-emulsion-job", job.id));
  row.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("application/x-emulsion-job") && event.preventDefault());
  row.addEventListener("drop", (event) => {
    const id = event.dataTransfer?.getData("application/x-emulsion-job");
    if (!id || id === job.id || job.running) return;
    event.preventDefault();
    queue.move([id], job.id).catch(tellError);
  });
  updateWaiting(app, row, job);
  return row;
}

/** @param {App} app @param {HTMLElement} row @param {Waiting} job */
function updateWaiting({ centre }, row, job) {
  const own = centre.running?.id === job.id;
  const bar = /** @type {HTMLProgressElement} */ (row.querySelector("progress"));
  bar.hidden = !own;
  bar.value = own ? (centre.share ?? 0) : 0;
  const sub = /** @type {HTMLElement} */ (row.querySelector(".sub"));
  sub.textContent = job.running ? (own && centre.saying) || t("Running") : t("Waiting");
  const preview = own ? centre.running?.preview : null;
  const thumb = /** @type {HTMLElement} */ (row.querySelector(".thumb"));
  if (preview) {
    const image = thumb.querySelector("img");
    if (image) image.src = preview;
    else thumb.replaceChildren(el("img", { attributes: { src: preview, alt: "" } }));
  }
}

/** @param {App} app @param {string} id @param {number} by */
async function move({ queue }, id, by) {
  const line = queue.waiting.filter((job) => !job.running).map((job) => job.id);
  const at = line.indexOf(id);
  const to = at + by;
  if (at < 0 || to < 0 || to >= line.length) return;
  if (by < 0) await queue.move([id], line[to]);
  else await queue.move([line[to]], id);
}

/** @param {App} app @param {Past} job */
function drawPast(app, job) {
  const { queue, api } = app;
  const words = caption(job.prompt) || t("A graph without a prompt");
  const outputs = Object.values(job.outputs).flatMap((output) => outputsOf(api, output));
  const image = outputs.find(({ kind }) => kind === "image");
  const took = tookSeconds(job.status);
  const state = stateOf(job);
  const thumb = image
    ? el(
        "button",
        { class: "thumb", attributes: { type: "button", "aria-label": `${t("Look at the picture")}: ${words}`, draggable: "true" }, on: { click: async () => (await import("./viewer.js")).openViewer(app, outputs, outputs.indexOf(image), job), dragstart: (event) => dragOut(event, image) } },
        el("img", { attributes: { src: api.viewUrl(image, "webp;70"), alt: "", loading: "lazy" } }),
      )
    : el("span", { class: "thumb" }, icon(state.bad ? "problem" : "history"));
  return el(
    "li",
    { class: "card" },
    thumb,
    el(
      "span",
      { class: "what" },
      el("span", { attributes: { title: words } }, words),
      el("span", { class: state.bad ? "sub bad" : "sub", attributes: { title: state.text } }, state.text, took !== null && !state.bad ? ` · ${duration(took)}` : "", job.at ? ` · ${ago(job.at)}` : ""),
    ),
    el(
      "span",
      { class: "tools hover" },
      tool("load", `${t("Open this graph")}: ${words}`, () => openGraph(app, job)),
      tool("again", `${t("Run again")}: ${words}`, () => rerun(app, job)),
      tool("trash", `${t("Delete from the history")}: ${words}`, () => queue.forget([job.id])),
    ),
  );
}

/** @param {DragEvent} event @param {import("./state.js").Output} output */
export function dragOut(event, { filename, subfolder, type, url }) {
  event.dataTransfer?.setData("application/x-emulsion-output", JSON.stringify({ filename, subfolder, type }));
  event.dataTransfer?.setData("text/uri-list", url);
}

/** @param {Past} job */
function stateOf({ status }) {
  const [type, data] = status?.messages?.at(-1) ?? [];
  if (status?.status_str === "success") return { text: t("Done"), bad: false };
  if (type === "execution_interrupted") return { text: t("Cancelled"), bad: false };
  return { text: data?.exception_message ? String(data.exception_message).trim() : t("Failed"), bad: true };
}

/** @param {App} app @param {{prompt: unknown, extra: any, id: string}} job */
export function openGraph(app, { prompt, extra, id }) {
  app.open(extra?.extra_pnginfo?.workflow ?? prompt, { name: t("Run {id}", { id: id.slice(0, 6) }) });
}

/** @param {App} app @param {Past} job */
async function rerun({ api, queue }, { prompt, extra }) {
  const { client_id: _client, ...rest } = extra ?? {};
  await api.post("prompt", { prompt, client_id: api.clientId, extra_data: rest });
  await queue.refresh();
}
