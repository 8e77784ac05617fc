// Random sequences of commands, in the root and inside a subgraph: undo ∘ do is the identity, redo too, and the link index stays right.
import assert from "node:assert/strict";
import { test } from "node:test";

import { addGroup, changeGroup, moveGroup, removeGroup } from "../../web/core/commands/groups.js";
import { RefusedLink, addReroute, addSocket, connect, disconnectOutput, moveReroute, removeLinks, removeReroute, removeSocket } from "../../web/core/commands/links.js";
import { createSubgraph } from "../../web/core/commands/subgraphs.js";
import * as nodes from "../../web/core/commands/nodes.js";
import { addBoundarySlot, removeBoundarySlot } from "../../web/core/commands/boundary.js";
import { dissolveNodes, insertOnLink, swapNode } from "../../web/core/commands/rewire.js";
import { unpackSubgraph } from "../../web/core/commands/unpack.js";
import { LinkIndex } from "../../web/core/links.js";
import { copyPart, pastePart } from "../../web/format/clip.js";
import { readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { definitions, objectInfo, seeded, withSubgraph } from "./graphs.mjs";

const json = (doc) => JSON.stringify(writeWorkflow(doc));
const TYPES = Object.keys(objectInfo);
const inner = withSubgraph().definitions.subgraphs[0].id;

/** One random command; each names the graph it works on. */
function step(doc, random) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  const graph = random() < 0.6 ? "root" : inner;
  const view = doc.graph(graph);
  const ids = [...view.nodes.keys()];
  const some = ids.filter(() => random() < 0.2);
  const merge = random() < 0.5 ? { merge: "drag" } : undefined;
  const node = ids.length ? view.node(pick(ids)) : null;
  const link = pick([...view.links.keys()]);
  const reroute = pick([...view.reroutes.keys()]);
  const group = pick([...view.groups.keys()]);
  const number = () => Math.round(random() * 1000);
  const actions = [
    () => nodes.addNode(doc, graph, pick(TYPES), definitions.get(pick(TYPES)), { pos: [number(), number()] }),
    () => nodes.addNode(doc, graph, "Reroute", null, { inputs: [{ name: "", type: "*" }], outputs: [{ name: "", type: "*" }] }),
    () => random() < 0.3 && nodes.removeNodes(doc, graph, some),
    () => nodes.moveNodes(doc, graph, some, number(), -number(), merge),
    () => node && nodes.resizeNode(doc, graph, node.id, number(), number(), merge),
    () => node && nodes.renameNode(doc, graph, node.id, pick(["", "a", "b"]), merge),
    () => node && node.widgets_values?.length && nodes.setValueAt(doc, graph, node.id, 0, pick([1, "x", null, { deep: [1] }]), merge),
    () => nodes.setMode(doc, graph, some, pick([0, 2, 4])),
    () => nodes.setCollapsed(doc, graph, some, random() < 0.5),
    () => nodes.setColour(doc, graph, some, pick([null, { color: "#123", bgcolor: "#456" }])),
    () => nodes.bringToFront(doc, graph, some),
    () => randomLink(doc, graph, pick),
    () => randomLink(doc, graph, pick),
    () => randomLink(doc, graph, pick),
    () => link !== undefined && removeLinks(doc, graph, [link]),
    () => node && disconnectOutput(doc, graph, { node: node.id, slot: 0 }),
    () => node && addSocket(doc, graph, node.id, pick(["inputs", "outputs"]), { name: `s${number()}`, type: "*" }),
    () => node?.inputs?.length && removeSocket(doc, graph, node.id, "inputs", Math.floor(random() * node.inputs.length)),
    () => node?.outputs?.length && removeSocket(doc, graph, node.id, "outputs", Math.floor(random() * node.outputs.length)),
    () => link !== undefined && addReroute(doc, graph, link, [number(), number()]),
    () => reroute !== undefined && moveReroute(doc, graph, reroute, [number(), number()], merge),
    () => reroute !== undefined && removeReroute(doc, graph, reroute),
    () => addGroup(doc, graph, "g", [number(), number(), 400, 400]),
    () => group !== undefined && changeGroup(doc, graph, group, { title: pick(["a", "b"]) }, merge),
    () => group !== undefined && moveGroup(doc, graph, group, number(), number(), merge),
    () => group !== undefined && removeGroup(doc, graph, group),
    () => random() < 0.3 && some.length > 0 && createSubgraph(doc, graph, some, `made-${doc.revision}-${number()}`),
    () => {
      const instance = [...view.nodes.values()].find((each) => each.type !== "root" && doc.hasGraph(each.type));
      if (instance && random() < 0.5) unpackSubgraph(doc, graph, instance.id, definitions);
    },
    () => random() < 0.4 && dissolveNodes(doc, graph, some.slice(0, 2)),
    () => node && link !== undefined && insertOnLink(doc, graph, node.id, link),
    () => node && !doc.hasGraph(node.type) && swapNode(doc, graph, node.id, definitions.get(pick(TYPES)), definitions),
    () => {
      const { file, incoming } = copyPart(doc, graph, some.slice(0, 3));
      if (some.length) pastePart(doc, pick(["root", graph]), file, { dx: number(), dy: number(), incoming });
    },
    () => graph !== "root" && addBoundarySlot(doc, graph, pick(["inputs", "outputs"]), `b${number()}`, "IMAGE"),
    () => graph !== "root" && view.record.inputs?.length && removeBoundarySlot(doc, graph, "inputs", Math.floor(random() * view.record.inputs.length)),
    () => assert.throws(() => doc.edit("fails", () => {
      nodes.removeNodes(doc, graph, some);
      throw new Error("on purpose");
    }), /on purpose|There is no node/),
  ];
  const act = pick(actions);
  if (random() < 0.15) doc.edit("several", () => [act, pick(actions)].forEach((each) => quiet(each)));
  else quiet(act);
}

/** What was looked up before another command ran may be gone by then. */
function quiet(act) {
  try {
    act();
  } catch (error) {
    if (!(error instanceof RefusedLink) && !/^(There is no|Node .* has no)/.test(error.message)) throw error;
  }
}

function randomLink(doc, graph, pick) {
  const view = doc.graph(graph);
  const from = pick([...view.nodes.values()].filter((node) => node.outputs?.length));
  const to = pick([...view.nodes.values()].filter((node) => node.inputs?.length));
  if (!from || !to) return;
  const slot = pick(from.outputs.keys().toArray?.() ?? [...from.outputs.keys()]);
  connect(doc, graph, { node: from.id, slot }, { node: to.id, slot: pick([...to.inputs.keys()]) });
}

function check(doc) {
  for (const name of ["root", ...doc.definitions]) {
    const view = doc.graph(name);
    const rebuilt = new LinkIndex();
    for (const link of view.links.values()) {
      rebuilt.add(link);
      for (const [id, slot, side] of [[link.from, link.fromSlot, "outputs"], [link.to, link.toSlot, "inputs"]]) {
        if (id >= 0 || typeof id === "string") assert.ok(view.node(id)[side]?.[slot], `link ${link.id} ends at a socket of ${side}`);
      }
    }
    for (const node of view.nodes.values()) {
      assert.deepEqual(view.linked.of(node.id), rebuilt.of(node.id));
      assert.ok((node.inputs ?? []).every((_, i) => rebuilt.into(node.id).filter((link) => link.toSlot === i).length <= 1), "one link per input");
    }
    const passed = new Set([...view.links.values()].flatMap((link) => view.reroutesOf(link)));
    assert.equal(passed.size, view.reroutes.size, "no reroute without a link");
  }
}

for (let seed = 1; seed <= 40; seed++) {
  test(`sequence ${seed}`, () => {
    const random = seeded(seed);
    const { document: doc, problems } = readWorkflow(withSubgraph());
    assert.deepEqual(problems, []);
    const states = [json(doc)];
    let steps = 0;
    doc.subscribe(({ origin }) => { if (origin === "edit") steps++; });
    for (let i = 0; i < 60; i++) {
      const before = doc.revision;
      step(doc, random);
      if (doc.revision === before) continue;
      check(doc);
      if (random() < 0.2) {
        const now = json(doc);
        assert.ok(doc.undo());
        assert.ok(doc.redo());
        assert.equal(json(doc), now, "redo after undo");
      }
    }
    const last = json(doc);
    let undone = 0;
    while (doc.undo()) {
      undone++;
      check(doc);
    }
    assert.ok(steps > 20 && undone > 10, `${steps} edits, ${undone} steps`);
    assert.equal(json(doc), states[0], "everything undone");
    assert.equal(doc.dirty, false);
    while (doc.redo());
    assert.equal(json(doc), last, "everything done again");
    const again = readWorkflow(JSON.parse(last));
    assert.deepEqual(again.problems, []);
    assert.equal(json(again.document), last, "saved, opened, saved");
  });
}
