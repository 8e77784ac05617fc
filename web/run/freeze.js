// Freezing results: a node keeps what it brought last, whatever feeds it now, until it is thawed.

import { setProperty } from "../core/commands/nodes.js";
import { ROOT } from "../core/records.js";
import { FROZEN, freeze, frozenIn } from "../format/frozen.js";
import { isInstance, isVirtual } from "../format/scope.js";
import { t } from "../shell/i18n.js";
import { toast } from "../shell/toast.js";

/** @typedef {import("../shell/app.js").App} App */
/** @typedef {import("../session.js").Session} Session */

const LOOKED_AT = 50;

/** The selected nodes that have results of their own. Nodes of a subgraph are those of all its instances, so they are left out. @param {Session} session */
export function freezable({ document: doc, definitions, selection: { selected } }) {
  if (selected.graph !== ROOT) return [];
  return [...selected.nodes].flatMap((id) => {
    const node = doc.root.nodes.get(id);
    return node && !isVirtual(node) && !isInstance(doc, node) && definitions.get(node.type) ? [node] : [];
  });
}

/** Freeze the selected nodes, or thaw them when all of them are frozen. @param {App} app @param {Session} session */
export async function toggleFrozen({ api, centre, workspace }, session) {
  const { document: doc } = session;
  const nodes = freezable(session);
  if (nodes.every((node) => frozenIn(node))) {
    doc.edit("Thaw", () => nodes.forEach(({ id }) => setProperty(doc, ROOT, id, FROZEN, undefined)));
    return;
  }
  const last = await lastPrompt(api, workspace.active?.key ?? "");
  /** @param {import("../core/records.js").NodeRecord} node */
  const hasRun = ({ id, type }) => last?.[String(id)]?.class_type === type;
  const unknown = nodes.filter((node) => !hasRun(node)).length;
  const now = unknown ? (await centre.compose(session)).prompt : {};
  doc.edit("Freeze", () => {
    for (const node of nodes) {
      const prompt = last && hasRun(node) ? last : now;
      if (prompt[String(node.id)]) setProperty(doc, ROOT, node.id, FROZEN, freeze(prompt, String(node.id)));
    }
  });
  if (unknown) toast(t("{n} of these nodes have no result of an earlier run. They are frozen with the values they have now, and run once.", { n: unknown }), { kind: "warn" });
}

/** What ran last of a workflow to the end; the history begins with the oldest. @param {import("./api.js").Api} api @param {string} document @returns {Promise<import("../format/prompt.js").Prompt | null>} */
async function lastPrompt(api, document) {
  const entries = /** @type {any[]} */ (Object.values(await api.get("history", { max_items: LOOKED_AT })));
  const own = entries.filter(({ prompt, status }) => prompt[3]?.emulsion?.document === document && status?.status_str === "success");
  return own.at(-1)?.prompt[2] ?? null;
}
