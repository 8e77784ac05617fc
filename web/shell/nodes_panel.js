// Every node there is, by category: to be found, marked as a favourite, read about, and added by a click, a key or by dragging.

import { addNode } from "../core/commands/nodes.js";
import { el, soon } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { ranked } from "./match.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../core/definitions.js").NodeDefinition} NodeDefinition */

export const NODE = "application/x-emulsion-node";
const MOST_FOUND = 120;

/** @param {App} app @returns {import("./side.js").Panel} */
export function create(app) {
  const { settings, shared, workspace } = app;
  settings.register({ key: "nodes.favourites", title: "Favourite nodes", kind: "hidden", default: [] }, { key: "nodes.open", title: "Open categories", kind: "hidden", local: true, default: [] });
  const search = el("input", { attributes: { type: "search", "aria-label": t("Search the nodes"), placeholder: t("Search the nodes") } });
  const list = el("div", { class: "library" });
  /** @returns {NodeDefinition[]} */
  const all = () => shared.definitions.types.flatMap((type) => {
    const definition = shared.definitions.get(type);
    return definition && !definition.deprecated ? [definition] : [];
  });
  const favourites = () => new Set(/** @type {string[]} */ (settings.get("nodes.favourites") ?? []));

  const draw = soon(() => {
    const words = search.value.trim();
    const marked = favourites();
    /** @param {NodeDefinition} definition */
    const row = (definition) => drawNode(app, definition, marked.has(definition.type), () => {
      const next = favourites();
      if (!next.delete(definition.type)) next.add(definition.type);
      settings.set("nodes.favourites", [...next]);
      draw();
    });
    if (words) {
      const found = ranked(words, all(), ({ title, type, category }) => `${title} ${type} ${category}`).slice(0, MOST_FOUND);
      list.replaceChildren(...(found.length ? found.map(row) : [el("p", { class: "note" }, t("Nothing fits the search."))]));
      return;
    }
    const tree = treeOf(all());
    const chosen = [...marked].flatMap((type) => shared.definitions.get(type) ?? []);
    list.replaceChildren(
      ...(chosen.length ? [el("h3", {}, t("Favourites")), ...chosen.map(row), el("h3", {}, t("All nodes"))] : []),
      ...drawTree(tree, "", new Set(settings.get("nodes.open")), row, (path, open) => {
        const next = new Set(/** @type {string[]} */ (settings.get("nodes.open")));
        if (open) next.add(path);
        else next.delete(path);
        settings.set("nodes.open", [...next]);
      }),
    );
  });
  search.addEventListener("input", draw);
  search.addEventListener("keydown", (event) => {
    const first = /** @type {HTMLElement | null} */ (list.querySelector("button.what"));
    if (event.key === "Enter") first?.click();
    else if (event.key === "ArrowDown") first?.focus();
    else return;
    event.preventDefault();
  });
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const rows = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("button.what, summary")].filter((each) => each instanceof HTMLElement && each.offsetParent !== null));
    const at = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const next = rows[at + (event.key === "ArrowDown" ? 1 : -1)];
    if (at < 0 || !next) return;
    next.focus();
    event.preventDefault();
  });
  document.addEventListener("emulsion-refreshed", draw);
  workspace.addEventListener("active", draw);
  draw();
  return {
    element: el("div", {}, el("div", { class: "search" }, search), list),
    destroy: () => {
      document.removeEventListener("emulsion-refreshed", draw);
      workspace.removeEventListener("active", draw);
    },
  };
}

/** @typedef {{inside: Map<string, Branch>, nodes: NodeDefinition[]}} Branch */

/** @param {readonly NodeDefinition[]} definitions @returns {Branch} */
export function treeOf(definitions) {
  /** @type {Branch} */
  const root = { inside: new Map(), nodes: [] };
  for (const definition of definitions) {
    let branch = root;
    for (const part of definition.category.split("/").filter(Boolean)) {
      let next = branch.inside.get(part);
      if (!next) {
        next = { inside: new Map(), nodes: [] };
        branch.inside.set(part, next);
      }
      branch = next;
    }
    branch.nodes.push(definition);
  }
  return root;
}

/** @param {Branch} branch @returns {number} */
function size(branch) {
  return branch.nodes.length + [...branch.inside.values()].reduce((sum, each) => sum + size(each), 0);
}

/**
 * @param {Branch} branch @param {string} path @param {ReadonlySet<string>} open @param {(definition: NodeDefinition) => HTMLElement} row
 * @param {(path: string, open: boolean) => void} onToggle @returns {HTMLElement[]}
 */
function drawTree(branch, path, open, row, onToggle) {
  const folders = [...branch.inside].sort(([a], [b]) => Number(a.startsWith("_")) - Number(b.startsWith("_")) || a.localeCompare(b)).map(([name, inner]) => {
    const own = path ? `${path}/${name}` : name;
    const box = el("div");
    const folder = el("details", { class: "folder", attributes: { open: open.has(own) || null } }, el("summary", {}, name, el("span", { class: "soft" }, ` ${size(inner)}`)), box);
    let filled = false;
    const fill = () => {
      if (filled || !folder.open) return;
      filled = true;
      box.append(...drawTree(inner, own, open, row, onToggle));
    };
    folder.addEventListener("toggle", () => {
      fill();
      onToggle(own, folder.open);
    });
    fill();
    return folder;
  });
  return [...folders, ...[...branch.nodes].sort((a, b) => a.title.localeCompare(b.title)).map(row)];
}

/** @param {App} app @param {NodeDefinition} definition @param {boolean} marked @param {() => void} onMark */
function drawNode(app, definition, marked, onMark) {
  const { title, type, description, category } = definition;
  const row = el(
    "div",
    { class: "card slim", attributes: { draggable: "true" } },
    el("button", { class: "quiet what grow", attributes: { type: "button", draggable: "true", title: [category, description].filter(Boolean).join("\n") }, on: { click: () => addAt(app, type) } }, el("span", {}, title)),
    el(
      "span",
      { class: "tools hover" },
      el("button", { class: "small square", attributes: { type: "button", "aria-label": t("About {name}", { name: title }), title: t("Help") }, on: { click: () => app.actions.run("view.help", { type }) } }, icon("help", 16)),
    ),
    el("button", { class: "quiet small square star", attributes: { type: "button", "aria-pressed": String(marked), "aria-label": t("Favourite: {name}", { name: title }), title: t("Favourite") }, on: { click: onMark } }, icon("star", 16)),
  );
  row.addEventListener("dragstart", (event) => {
    event.dataTransfer?.setData(NODE, type);
    event.dataTransfer?.setData("text/plain", title);
  });
  return row;
}

/** A node of a type in the middle of what is on screen, or at a place of the page. @param {App} app @param {string} type @param {{x: number, y: number}} [client] */
export function addAt(app, type, client) {
  const session = app.workspace.active?.session;
  const { canvas } = app.view;
  const box = document.querySelector(".stage")?.getBoundingClientRect();
  if (!session || !canvas || !box) return;
  const [x, y] = canvas.toGraph(client?.x ?? box.left + box.width / 2 - 100, client?.y ?? box.top + box.height / 3);
  const id = addNode(session.document, session.graph, type, session.definitions.get(type), { pos: [Math.round(x), Math.round(y)] });
  session.selection.set([id], [], session.graph);
}
