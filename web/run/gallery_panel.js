// Everything the runs of the history brought: pictures, films, sounds. Two can be compared, each dragged into the graph.

import { el, keyed, soon } from "../shell/dom.js";
import { t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { outputsOf } from "./outputs.js";
import { caption } from "./queue.js";
import { dragOut } from "./queue_panel.js";
import { openCompare, openViewer } from "./viewer.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("./state.js").Output} Output */
/** @typedef {{output: Output, job: import("./queue.js").Past, all: Output[]}} Shot */

/** @param {App} app @returns {import("../shell/side.js").Panel} */
export function create(app) {
  const { queue, api } = app;
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the results"), placeholder: t("Search the results") } });
  const grid = el("ul", { id: "gallery", class: "grid" });
  const empty = el("p", { class: "note" });
  /** @type {Map<string, Shot>} */
  const picked = new Map();
  let picking = false;
  const compare = el("button", { class: "small", attributes: { type: "button", "aria-pressed": "false" } }, icon("compare", 16), t("Compare"));
  const more = el("button", { class: "quiet", attributes: { type: "button" }, on: { click: () => queue.more() } }, t("Show more"));
  const hint = el("p", { class: "note", attributes: { role: "status" } });

  /** @param {Shot} shot */
  const pick = (shot) => {
    if (!picking) {
      openViewer(app, shot.all, shot.all.indexOf(shot.output), shot.job);
      return;
    }
    if (!picked.delete(shot.output.url)) picked.set(shot.output.url, shot);
    if (picked.size === 2) {
      const [a, b] = [...picked.values()];
      openCompare(a.output, b.output);
      stop();
    }
    draw();
  };
  const stop = () => {
    picking = false;
    picked.clear();
  };
  compare.addEventListener("click", () => {
    picking = !picking;
    picked.clear();
    draw();
  });
  const draw = soon(() => {
    const words = search.value.trim().toLowerCase();
    const shots = queue.history.flatMap((job) => {
      const all = Object.values(job.outputs).flatMap((output) => outputsOf(api, output)).filter(({ kind }) => kind !== "text");
      return all.map((output) => ({ output, job, all }));
    });
    const seen = new Set();
    const found = shots.filter(({ output, job }) => {
      if (seen.has(output.url) || (words && !`${output.filename} ${caption(job.prompt)}`.toLowerCase().includes(words))) return false;
      return seen.add(output.url);
    });
    keyed(grid, found, ({ output }) => output.url, (shot) => drawShot(app, shot, pick), (element, { output }) => element.firstElementChild?.setAttribute("aria-pressed", String(picked.has(output.url))));
    empty.hidden = found.length > 0;
    empty.textContent = words ? t("Nothing fits the search.") : t("Pictures appear here once a run has made some.");
    compare.setAttribute("aria-pressed", String(picking));
    hint.hidden = !picking;
    hint.textContent = picked.size ? t("Choose the second picture.") : t("Choose two pictures to compare.");
    more.hidden = !queue.hasMore;
  });
  search.addEventListener("input", draw);
  queue.addEventListener("change", draw);
  queue.watched = true;
  queue.refresh();
  draw();
  return {
    element: el("div", {}, el("div", { class: "search" }, search), hint, grid, empty, more),
    tools: [compare],
    destroy: () => {
      queue.watched = false;
      queue.removeEventListener("change", draw);
    },
  };
}

/** @param {App} app @param {Shot} shot @param {(shot: Shot) => void} pick */
function drawShot({ api }, shot, pick) {
  const { output, job } = shot;
  const words = `${output.filename}: ${caption(job.prompt)}`;
  const inside =
    output.kind === "image" ? el("img", { attributes: { src: api.viewUrl(output, "webp;75"), alt: "", loading: "lazy" } }) : output.kind === "video" ? el("video", { attributes: { src: output.url, muted: true, preload: "metadata" } }) : icon("file");
  return el("li", {}, el("button", { class: "shot", attributes: { type: "button", "aria-label": words, title: words, "aria-pressed": "false", draggable: "true" }, on: { click: () => pick(shot), dragstart: (event) => dragOut(event, output) } }, inside));
}
