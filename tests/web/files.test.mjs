// Files that are as they should be, and files that are not.
import assert from "node:assert/strict";
import { test } from "node:test";

import { BadWorkflow, kindOf, readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { into, out, withSubgraph } from "./graphs.mjs";

test("a file comes back as it was", () => {
  const { document, problems } = readWorkflow(withSubgraph());
  assert.deepEqual(problems, []);
  assert.deepEqual(JSON.parse(JSON.stringify(writeWorkflow(document))), withSubgraph());
  assert.equal(document.dirty, false);
  assert.equal(document.canUndo, false);
});

test("what nobody understands is kept", () => {
  const file = withSubgraph();
  Object.assign(file, { mine: { a: [1] }, floatingLinks: [{ id: 3, origin_id: 1, origin_slot: 0, target_id: -1, target_slot: -1, type: "MODEL", parentId: 1 }] });
  file.extra.mine = "x";
  file.extra.reroutes = [{ id: 1, pos: [5, 5], linkIds: [1], floating: { slotType: "output" } }, { id: 2, pos: [6, 6], linkIds: [1], parentId: 1 }];
  file.extra.linkExtensions = [{ id: 1, parentId: 2 }];
  file.definitions.mine = 1;
  file.definitions.subgraphs[0].mine = 2;
  file.definitions.subgraphs[0].inputs[0].mine = 3;
  file.nodes[0].mine = { deep: [null] };
  file.nodes[0].outputs[0].mine = 4;
  file.nodes[2].inputs[0].mine = 5;
  file.nodes.push({ id: "s-1", type: "Never heard of", pos: [1, 2], size: [3, 4], widgets_values: { a: { b: 1 } }, properties: { x: null } });
  file.nodes.push({ id: 12, type: "Never heard of", pos: [1, 2], size: [3, 4], widgets_values: [null, [1], { a: 1 }] });
  file.groups.push({ id: 4, title: "G", bounding: [0, 0, 1, 1], color: "#fff", font_size: 24, flags: {}, mine: 1 });
  const copy = structuredClone(file);
  const { document, problems } = readWorkflow(file);
  assert.deepEqual(problems, []);
  assert.deepEqual(JSON.parse(JSON.stringify(writeWorkflow(document))), copy);
});

test("version 1 has links as objects", () => {
  const file = { ...structuredClone(withSubgraph().definitions.subgraphs[0]), id: "v1" };
  for (const key of ["name", "inputs", "outputs", "inputNode", "outputNode", "widgets"]) delete file[key];
  file.links = file.links.filter((link) => link.origin_id > 0 && link.target_id > 0).map((link) => ({ ...link, parentId: 1, mine: 1 }));
  for (const node of file.nodes) for (const slot of node.inputs) if (slot.link !== 6) slot.link = null;
  file.nodes[1].outputs[0].links = [];
  file.reroutes = [{ id: 1, pos: [5, 5], linkIds: [6] }];
  const copy = structuredClone(file);
  const { document, problems } = readWorkflow(file);
  assert.deepEqual(problems, []);
  assert.deepEqual(JSON.parse(JSON.stringify(writeWorkflow(document))), copy);
});

test("positions as objects, old groups, stale ends of links", () => {
  const file = {
    version: 0.4,
    nodes: [
      { id: 1, type: "A", pos: { 0: 4, 1: 5 }, size: { 0: 6, 1: 7 }, outputs: [out("X", [3])] },
      { id: 2, type: "B", pos: [0, 0], size: [1, 1], inputs: [into("a", "X", null), into("b", "X", 3)] },
    ],
    links: [[3, 1, 0, 99, 7, "X"]],
    groups: [{ title: "old", bounding: [1, 2, 3, 4] }],
  };
  const { document, problems } = readWorkflow(file);
  assert.deepEqual(problems, []);
  const saved = writeWorkflow(document);
  assert.deepEqual([saved.nodes[0].pos, saved.nodes[0].size], [[4, 5], [6, 7]]);
  assert.deepEqual(saved.links, [[3, 1, 0, 2, 1, "X"]]);
  assert.equal(saved.groups[0].title, "old");
});

test("links no input names are without effect and kept", () => {
  const file = withSubgraph();
  file.links.push([77, 1, 0, 6, 0, "MODEL"]);
  const { document } = readWorkflow(file);
  assert.equal(document.root.linked.input(6, 0).id, 4);
  assert.deepEqual(writeWorkflow(document).links.at(-1), [77, 1, 0, 6, 0, "MODEL"]);
});

test("broken parts are named and the rest is opened", () => {
  const file = {
    nodes: [
      null, 3, { id: 1 }, { type: "A" },
      { id: 1, type: "A", pos: "x", size: null, inputs: [null, into("a", "X", 50)], outputs: {} },
      { id: 1, type: "A", pos: [NaN, 1], size: [1, 1], inputs: [into("a", "X", 2)] },
      { id: 5, type: "A", pos: [0, 0], size: [1, 1], inputs: [into("a", "X", 2)], outputs: [out("X", [2])] },
    ],
    links: [null, "x", [1], [2, 5, 0, 1, 0, "X"], { id: 9 }],
    groups: [null, { bounding: "x" }], extra: null, definitions: { subgraphs: [null, {}, { id: "root", nodes: [] }] },
  };
  const { document, problems } = readWorkflow(file);
  assert.equal(document.root.nodes.size, 3);
  assert.equal(document.root.links.size, 2, "a link two inputs name becomes two");
  const said = problems.map((problem) => problem.message).join("\n");
  for (const part of ["Entry 1 of the nodes", "Two nodes have the id 1", "names link 50", "Entry 2 of the links", "Group: 1 entries", "Subgraph definition number 1"]) assert.match(said, new RegExp(part));
  assert.deepEqual(readWorkflow(JSON.parse(JSON.stringify(writeWorkflow(document)))).problems, []);
});

test("what is no graph is refused with a reason", () => {
  for (const json of [null, 3, "x", [], {}, { a: 1 }, { nodes: {} }]) {
    assert.equal(kindOf(json), null);
    assert.throws(() => readWorkflow(json), BadWorkflow);
  }
  assert.throws(() => readWorkflow({ project: 1, layers: [] }), /it has: project, layers/);
  const prompt = { 1: { class_type: "A", inputs: {} } };
  assert.equal(kindOf(prompt), "prompt");
  assert.throws(() => readWorkflow(prompt), /API form/);
  assert.equal(kindOf({ nodes: [] }), "workflow");
});

test("large and hostile files are opened or refused in good time", () => {
  const many = Array.from({ length: 150_000 }, (_, i) => ({ id: i < 20_000 ? 1 : i, type: "A", pos: [0, 0], size: [1, 1], inputs: [into("a", "X", 1)] }));
  const started = performance.now();
  const { document } = readWorkflow({ nodes: many, links: [[1, 149_999, 0, 1, 0, "X"]], groups: Array(10).fill({}) });
  assert.equal(document.root.nodes.size, 150_000);
  assert.equal(document.root.links.size, 150_000);
  assert.ok(performance.now() - started < 60_000, "no quadratic work");
  const deep = JSON.parse(`{"nodes": [{"id": 1, "type": "A", "pos": [0, 0], "size": [1, 1], "x": ${"[".repeat(50_000)}${"]".repeat(50_000)}}]}`);
  assert.throws(() => readWorkflow(deep), /nested too deeply/);
});

test("titles are data", () => {
  const { document } = readWorkflow(JSON.parse('{"nodes": [{"id": 1, "type": "__proto__", "title": "<script>", "pos": [0, 0], "size": [1, 1], "__proto__": {"x": 1}}]}'));
  assert.equal(writeWorkflow(document).nodes[0].title, "<script>");
  assert.equal({}.x, undefined);
});
