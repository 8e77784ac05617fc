// Copying, pasting, swapping, putting on a link, taking out of a chain, unpacking: what runs is what it should be, and undo takes it back.
import assert from "node:assert/strict";
import { test } from "node:test";

import { addBoundarySlot, removeBoundarySlot, renameBoundarySlot } from "../../web/core/commands/boundary.js";
import { addGroup } from "../../web/core/commands/groups.js";
import { addReroute, connect } from "../../web/core/commands/links.js";
import { setWidget } from "../../web/core/commands/nodes.js";
import { dissolveNodes, fitsOnLink, insertOnLink, swapNode } from "../../web/core/commands/rewire.js";
import { createSubgraph } from "../../web/core/commands/subgraphs.js";
import { unpackSubgraph } from "../../web/core/commands/unpack.js";
import { copyPart, pastePart } from "../../web/format/clip.js";
import { toPrompt } from "../../web/format/prompt.js";
import { readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { add, definitions, link, seeded, textToImage, withSubgraph } from "./graphs.mjs";

const json = (doc) => JSON.stringify(writeWorkflow(doc));
const runs = (doc) => toPrompt(doc, definitions).prompt;

/** Do something, look at the outcome, take it back and do it again. */
function undoable(doc, act, look = () => {}) {
  const before = json(doc);
  const result = act();
  look(result);
  const after = json(doc);
  assert.notEqual(after, before);
  doc.undo();
  assert.equal(json(doc), before);
  doc.redo();
  assert.equal(json(doc), after);
  return result;
}

/** A prompt with ids forgotten: every node as text, what feeds it written out. */
function shape(prompt) {
  const said = (id) => {
    const { class_type, inputs } = prompt[id];
    return `${class_type}(${Object.keys(inputs).sort().map((name) => `${name}=${Array.isArray(inputs[name]) ? `${said(String(inputs[name][0]))}[${inputs[name][1]}]` : JSON.stringify(inputs[name])}`).join(",")})`;
  };
  return Object.keys(prompt).map(said).sort();
}

test("a part is copied with its links, groups, bends and values; pasted it runs the same", () => {
  const doc = textToImage();
  setWidget(doc, "root", 4, definitions.get("Sample"), "cfg", 3.5);
  addGroup(doc, "root", "All", [0, 0, 900, 900]);
  addReroute(doc, "root", doc.root.linked.input(5, 0).id, [50, 60]);
  const once = shape(runs(doc));
  const { file } = copyPart(doc, "root", [1, 2, 3, 4, 5, 6], [1]);
  const made = undoable(doc, () => pastePart(doc, "root", file, { dx: 100, dy: 5 }));
  assert.equal(made.nodes.length, 6);
  assert.equal(made.groups.length, 1);
  assert.equal(doc.root.reroutes.size, 2);
  assert.deepEqual(shape(runs(doc)), [...once, ...once].sort());
  assert.deepEqual(doc.root.node(made.nodes[0]).pos, [doc.root.node(1).pos[0] + 100, doc.root.node(1).pos[1] + 5]);
  const elsewhere = textToImage();
  pastePart(elsewhere, "root", JSON.parse(JSON.stringify(file)), { at: [7, 9] });
  assert.equal(elsewhere.root.nodes.size, 12);
});

test("a copy can be fed by what feeds the original", () => {
  const doc = textToImage();
  const { file, incoming } = copyPart(doc, "root", [4]);
  assert.equal(incoming.length, 3);
  const { nodes: [plain] } = pastePart(doc, "root", file);
  assert.equal(doc.root.linked.into(plain).length, 0);
  const { nodes: [fed] } = pastePart(doc, "root", file, { incoming });
  assert.deepEqual(runs(doc)[fed].inputs, runs(doc)[4].inputs);
});

test("subgraphs travel with their nodes, once, and never into themselves", () => {
  const { document: doc } = readWorkflow(withSubgraph());
  const [definition] = doc.definitions;
  const { file } = copyPart(doc, "root", [5]);
  const target = textToImage();
  const { nodes: [id] } = pastePart(target, "root", file);
  assert.deepEqual(target.definitions, [definition]);
  pastePart(target, "root", file);
  assert.deepEqual(target.definitions, [definition], "the same definition is used again");
  assert.throws(() => pastePart(target, definition, file), /into itself/);
  assert.ok(target.root.nodes.has(id));
  const other = JSON.parse(JSON.stringify(file));
  other.definitions.subgraphs[0].nodes[0].widgets_values = ["something else"];
  pastePart(target, "root", other);
  assert.equal(target.definitions.length, 2, "another content under the same id gets an id of its own");
});

test("a node is put on a link it fits, and taken out of a chain again", () => {
  const doc = textToImage();
  const mix = add(doc, "Mix");
  const wire = doc.root.linked.input(6, 0).id;
  assert.deepEqual(fitsOnLink(doc, "root", mix, wire), { input: 0, output: 0 });
  assert.equal(fitsOnLink(doc, "root", add(doc, "Blank"), wire), null);
  const before = runs(doc);
  undoable(doc, () => insertOnLink(doc, "root", mix, wire), (done) => assert.equal(done, true));
  assert.deepEqual(runs(doc)[6].inputs.images, [String(mix), 0]);
  assert.deepEqual(runs(doc)[mix].inputs.one, ["5", 0]);
  undoable(doc, () => dissolveNodes(doc, "root", [mix]));
  delete before[mix];
  assert.deepEqual(runs(doc), before);
});

test("a swapped node keeps the links and values that fit", () => {
  const doc = textToImage();
  const picture = add(doc, "Picture");
  const mix = add(doc, "Mix");
  link(doc, 5, "IMAGE", mix, "one");
  link(doc, picture, "IMAGE", mix, "two");
  link(doc, mix, "IMAGE", 6, "images");
  undoable(doc, () => swapNode(doc, "root", mix, definitions.get("Any"), definitions));
  assert.deepEqual(runs(doc)[mix], { class_type: "Any", inputs: { anything: ["5", 0] }, _meta: { title: "Any" } });
  assert.deepEqual(runs(doc)[6].inputs.images, [String(mix), 0]);
  undoable(doc, () => swapNode(doc, "root", 2, definitions.get("Encode"), definitions), () => assert.equal(doc.root.node(2).type, "Encode"));
  const counted = add(doc, "Number");
  link(doc, counted, "INT", 3, "width");
  swapNode(doc, "root", 3, definitions.get("Blank"), definitions);
  assert.deepEqual(runs(doc)[3].inputs.width, [String(counted), 0], "a widget that was fed gets its socket back");
});

test("unpacking is the reverse of making a subgraph", () => {
  const random = seeded(11);
  for (let round = 0; round < 40; round++) {
    const doc = textToImage();
    const number = add(doc, "Number");
    link(doc, number, "INT", 4, "steps");
    link(doc, number, "INT", 3, "width");
    setWidget(doc, "root", 4, definitions.get("Sample"), "cfg", 2 + round);
    const expected = shape(runs(doc));
    const ids = [...doc.root.nodes.keys()].filter(() => random() < 0.5);
    if (!ids.length) continue;
    const instance = createSubgraph(doc, "root", ids, "d-1", "Part");
    const made = undoable(doc, () => unpackSubgraph(doc, "root", instance, definitions));
    assert.equal(made.length, ids.length);
    assert.deepEqual(shape(runs(doc)), expected);
  }
});

test("unpacking keeps the values the instance held", () => {
  const { document: doc } = readWorkflow(withSubgraph());
  const expected = shape(runs(doc));
  unpackSubgraph(doc, "root", 5, definitions);
  assert.deepEqual(shape(runs(doc)), expected);
});

test("the border of a subgraph grows, shrinks and is renamed with all its instances", () => {
  const { document: doc } = readWorkflow(withSubgraph());
  const [definition] = doc.definitions;
  const second = pastePart(doc, "root", copyPart(doc, "root", [5]).file).nodes[0];
  const slot = undoable(doc, () => {
    let at = -1;
    doc.edit("Show cfg", () => {
      at = addBoundarySlot(doc, definition, "inputs", "cfg", "FLOAT", { widget: true });
      connect(doc, definition, { node: -10, slot: at }, { node: 4, slot: { name: "cfg", type: "FLOAT" } });
    });
    return at;
  });
  for (const id of [5, second]) assert.deepEqual(doc.root.node(id).inputs.at(-1), { name: "cfg", type: "FLOAT", widget: { name: "cfg" } });
  assert.equal(runs(doc)["5:4"].inputs.cfg, 8, "without a value outside the inner one counts");
  renameBoundarySlot(doc, definition, "inputs", slot, "Strength");
  assert.equal(doc.root.node(second).inputs.at(-1).label, "Strength");
  undoable(doc, () => removeBoundarySlot(doc, definition, "inputs", 1));
  assert.deepEqual(doc.root.node(5).inputs.map(({ name }) => name), ["model", "latent", "text", "steps", "cfg"]);
  const { prompt } = toPrompt(doc, definitions);
  assert.equal(prompt["5:2"].inputs.clip, undefined);
  assert.deepEqual(prompt["5:4"].inputs.latent_image, ["3", 0], "links after the one that went still lead where they led");
  assert.equal(prompt["5:4"].inputs.steps, 7);
});
