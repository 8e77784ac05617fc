// Graphs to begin with: those that ship, and those of node packs.

import { el } from "../shell/dom.js";
import { t } from "../shell/i18n.js";
import { icon } from "../shell/icons.js";
import { ranked } from "../shell/match.js";
import { tellError } from "../shell/toast.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {{name: string, title: string, description: string, thumbnail?: string, models?: {name: string, kind: string, folder?: string}[], url: string, group: string}} Template */

const ROOT = "templates/";

/** @param {App} app @returns {import("../shell/side.js").Panel} */
export function create(app) {
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the templates"), placeholder: t("Search the templates") } });
  const list = el("div", { class: "templates" });
  /** @type {Template[]} */
  let all = [];
  /** Names without endings, which no input of a node lists. @type {string[]} */
  let embeddings = [];
  const draw = () => {
    const found = ranked(search.value, all, ({ title, description, group }) => `${title} ${description} ${group}`);
    list.replaceChildren(...found.map((template) => drawTemplate(app, template, embeddings)));
    if (!found.length) list.append(el("p", { class: "note" }, t("Nothing fits the search.")));
  };
  search.addEventListener("input", draw);
  Promise.all([readTemplates(app), app.api.get("embeddings")]).then(([found, names]) => {
    [all, embeddings] = [found, names];
    draw();
  }, tellError);
  return { element: el("div", {}, el("div", { class: "search" }, search), list) };
}

/** @param {App} app @returns {Promise<Template[]>} */
export async function readTemplates({ api }) {
  const [shipped, packs] = await Promise.all([api.get(`${ROOT}index.json`), api.get("workflow_templates")]);
  return [
    ...shipped.map((/** @type {any} */ each) => ({ ...each, url: `${ROOT}${encodeURIComponent(each.name)}.json`, group: t("Shipped") })),
    ...Object.entries(packs).flatMap(([pack, names]) =>
      names.map((/** @type {string} */ name) => ({ name, title: name, description: "", url: `workflow_templates/${encodeURIComponent(pack)}/${encodeURIComponent(name)}.json`, group: pack })),
    ),
  ];
}

/** Which models a template needs, and whether they are here. @param {App} app @param {{name: string, kind: string, folder?: string}[]} models @param {string[]} embeddings */
function needs(app, models, embeddings) {
  const { definitions } = app.shared;
  const chosen = (/** @type {string} */ name) => definitions.types.some((type) => definitions.get(type)?.inputs.some(({ choices }) => choices?.includes(name)));
  const lacking = models.filter(({ name, folder }) => !(folder === "embeddings" ? embeddings.includes(name.replace(/\.[^.]*$/, "")) : chosen(name)));
  const names = models.map(({ name, kind }) => (kind ? `${name} (${kind})` : name)).join(", ");
  return lacking.length ? t("Needs {names}", { names }) : t("Its models are here: {names}", { names });
}

/** @param {App} app @param {Template} template @param {string[]} embeddings */
function drawTemplate(app, { title, description, thumbnail, models = [], url, group }, embeddings) {
  return el(
    "button",
    {
      class: "template",
      attributes: { type: "button" },
      on: {
        click: async () => {
          try {
            app.open(await app.api.get(url), { name: title });
          } catch (error) {
            tellError(error);
          }
        },
      },
    },
    el("span", { class: "shot" }, thumbnail ? el("img", { attributes: { src: app.api.url(`${ROOT}${thumbnail}`).href, alt: "", loading: "lazy" } }) : icon("graph", 32)),
    el("span", { class: "text" }, el("strong", {}, title), description && el("span", { class: "soft" }, description), el("span", { class: "soft" }, models.length ? needs(app, models, embeddings) : group)),
  );
}
