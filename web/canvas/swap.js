// Another node in the place of one: those that could take over most of its links come first.

import { swapNode } from "../core/commands/rewire.js";
import { compatible } from "../core/types.js";
import { t } from "../shell/i18n.js";
import { rank } from "./fuzzy.js";
import { openPalette } from "./palette.js";
import { entriesOf } from "./search.js";

/** @typedef {import("./stage.js").Stage} Stage */

/** @param {Stage} stage @param {import("../core/records.js").Id} id @param {{x: number, y: number}} [client] */
export function openSwap(stage, id, client) {
  const { document: graph, definitions } = stage.session;
  const { linked } = stage.scene.view;
  const node = stage.scene.view.node(id);
  const [into, outOf] = [linked.into(id), linked.outOf(id)];
  const scored = entriesOf(stage).flatMap(({ definition }) => {
    if (!definition || definition.type === node.type) return [];
    const keeps = into.filter((link) => definition.inputs.some((input) => compatible(link.type, input.type))).length + outOf.filter((link) => definition.outputs.some((output) => compatible(output.type, link.type))).length;
    const alike = definition.category === definitions.get(node.type)?.category ? 0.5 : 0;
    return keeps || into.length + outOf.length === 0 ? [{ definition, keeps, score: keeps + alike }] : [];
  }).sort((a, b) => b.score - a.score);
  const box = stage.rect();
  const item = stage.scene.items.get(id);
  const [sx, sy] = item ? stage.camera.toScreen(item.bounds[0], item.bounds[1]) : [0, 0];
  openPalette({
    label: t("Swap {node} for …", { node: item?.face.title ?? "" }),
    at: client ?? { x: box.left + sx, y: box.top + sy },
    find: (query) => (query.trim() ? rank(query, scored, ({ definition }) => [definition.title, definition.type, definition.category]) : scored.slice(0, 60).map((each) => ({ item: each, at: [] })))
      .map(({ item: each, at }) => ({ item: each, label: each.definition.title, at, detail: t("keeps {n} of {all} links", { n: each.keeps, all: into.length + outOf.length }) })),
    take: ({ definition }) => swapNode(graph, stage.scene.graph, id, definition, definitions),
  });
}
