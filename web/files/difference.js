// What is different between two states of a workflow, in words.

import { ROOT } from "../core/records.js";
import { readWidgets } from "../core/widgets.js";
import { t } from "../shell/i18n.js";

/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */

const LONGEST = 60;

/**
 * @param {Document} before @param {Document} after @param {Definitions} definitions
 * @returns {string[]} a sentence for every difference that matters; that things lie elsewhere is one sentence for all
 */
export function differences(before, after, definitions) {
  /** @type {string[]} */
  const said = [];
  let moved = 0;
  for (const name of new Set([ROOT, ...before.definitions, ...after.definitions])) {
    const [old, now] = [before.hasGraph(name) ? before.graph(name) : null, after.hasGraph(name) ? after.graph(name) : null];
    const where = name === ROOT ? "" : `${String((now ?? old)?.record.name ?? name)}: `;
    if (!old || !now) {
      said.push(now ? t("The subgraph {name} is new.", { name: where.slice(0, -2) }) : t("The subgraph {name} is gone.", { name: where.slice(0, -2) }));
      continue;
    }
    /** @param {Readonly<NodeRecord>} node */
    const called = (node) => `${where}${node.title || definitions.get(node.type)?.title || node.type} #${node.id}`;
    for (const [id, node] of old.nodes) if (!now.nodes.has(id)) said.push(t("{node} is gone.", { node: called(node) }));
    for (const [id, node] of now.nodes) {
      const earlier = old.nodes.get(id);
      if (!earlier || earlier.type !== node.type) {
        said.push(t("{node} is new.", { node: called(node) }));
        continue;
      }
      if (earlier.title !== node.title) said.push(t("{node} was called {name}.", { node: called(node), name: earlier.title ?? earlier.type }));
      if ((earlier.mode ?? 0) !== (node.mode ?? 0)) said.push(`${called(node)}: ${modeOf(earlier)} → ${modeOf(node)}`);
      for (const [input, from, to] of values(earlier, node, definitions)) said.push(`${called(node)} · ${input}: ${short(from)} → ${short(to)}`);
      if (String(earlier.pos) !== String(node.pos) || String(earlier.size) !== String(node.size)) moved++;
    }
    /** @param {import("../core/graphview.js").GraphView} view @param {import("../core/records.js").LinkRecord} link */
    const ends = (view, link) => {
      const [from, to] = [view.nodes.get(link.from), view.nodes.get(link.to)];
      return from && to ? `${called(from)} · ${from.outputs?.[link.fromSlot]?.name ?? link.fromSlot} → ${called(to)} · ${to.inputs?.[link.toSlot]?.name ?? link.toSlot}` : null;
    };
    const [was, is] = [old, now].map((view) => new Set([...view.links.values()].flatMap((link) => ends(view, link) ?? [])));
    for (const link of was) if (!is.has(link)) said.push(t("No longer linked: {link}", { link }));
    for (const link of is) if (!was.has(link)) said.push(t("Linked: {link}", { link }));
  }
  if (moved) said.push(t("{n} nodes lie elsewhere or have another size.", { n: moved }));
  return said;
}

/** @param {Readonly<NodeRecord>} before @param {Readonly<NodeRecord>} after @param {Definitions} definitions @returns {[string, unknown, unknown][]} */
function values(before, after, definitions) {
  const definition = definitions.get(after.type);
  if (!definition) return JSON.stringify(before.widgets_values) === JSON.stringify(after.widgets_values) ? [] : [["", before.widgets_values, after.widgets_values]];
  const old = readWidgets(before, definition);
  return [...readWidgets(after, definition)].flatMap(([name, value]) => (JSON.stringify(old.get(name)) === JSON.stringify(value) ? [] : [/** @type {[string, unknown, unknown]} */ ([name, old.get(name), value])]));
}

/** @param {Readonly<NodeRecord>} node */
function modeOf({ mode = 0 }) {
  return mode === 2 ? t("muted") : mode === 4 ? t("bypassed") : t("runs");
}

/** @param {unknown} value */
function short(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === undefined ? "–" : text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text || "“”";
}
