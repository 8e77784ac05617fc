// Choices that bring inputs of their own, and rows of inputs that grow as they are linked.
import assert from "node:assert/strict";
import { test } from "node:test";

import { growInputs, connect } from "../../web/core/commands/links.js";
import { addNode, setWidget } from "../../web/core/commands/nodes.js";
import { insertOnLink, swapNode } from "../../web/core/commands/rewire.js";
import { Definitions } from "../../web/core/definitions.js";
import { Document } from "../../web/core/document.js";
import { inputNamed, readWidgets } from "../../web/core/widgets.js";
import { fromPrompt } from "../../web/format/from_prompt.js";
import { toPrompt } from "../../web/format/prompt.js";
import { readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { faceOf } from "../../web/canvas/face.js";

const SIDE = ["INT", { default: 512 }];
const WAYS = [
  { key: "to a size", inputs: { required: { width: SIDE, height: SIDE, crop: ["COMBO", { options: ["no", "center"], default: "center" }] } } },
  { key: "by a factor", inputs: { required: { factor: ["FLOAT", { default: 1.5 }] } } },
  { key: "to a width", inputs: { required: { width: SIDE }, optional: { like: ["IMAGE", {}] } } },
];
const INFO = {
  Picture: { input: { required: {} }, output: ["IMAGE"] },
  Resize: { input: { required: { image: ["IMAGE"], way: ["COMFY_DYNAMICCOMBO_V3", { options: WAYS }], method: [["a", "b"]] } }, output: ["IMAGE"] },
  Batch: { input: { required: { images: ["COMFY_AUTOGROW_V3", { template: { input: { required: { image: ["IMAGE", {}] } }, prefix: "image", min: 2, max: 4 } }] } }, output: ["IMAGE"], output_node: true },
  Stack: { input: { required: { pictures: ["COMFY_AUTOGROW_V3", { template: { input: { required: { p: ["IMAGE", {}] } }, prefix: "p", min: 1, max: 5 } }] } }, output: ["IMAGE"] },
  Sum: { input: { required: { values: ["COMFY_AUTOGROW_V3", { template: { input: { required: { n: ["FLOAT,INT", {}] } }, names: ["a", "b"], min: 1 } }] } }, output: ["INT"] },
};
const definitions = new Definitions(INFO);
const of = (type) => definitions.get(type);

function graph() {
  const document = new Document();
  const add = (type) => addNode(document, "root", type, of(type));
  return { document, add, values: (id) => Object.fromEntries(readWidgets(document.root.node(id), of(document.root.node(id).type))) };
}

test("a choice brings the inputs of what is chosen, in their places", () => {
  const { document, add, values } = graph();
  const id = add("Resize");
  assert.deepEqual(document.root.node(id).widgets_values, ["to a size", 512, 512, "center", "a"]);
  assert.deepEqual(values(id), { way: "to a size", "way.width": 512, "way.height": 512, "way.crop": "center", method: "a" });
  setWidget(document, "root", id, of("Resize"), "way.width", 64);
  setWidget(document, "root", id, of("Resize"), "method", "b");
  setWidget(document, "root", id, of("Resize"), "way", "by a factor");
  assert.deepEqual(document.root.node(id).widgets_values, ["by a factor", 1.5, "b"]);
  setWidget(document, "root", id, of("Resize"), "way", "to a width");
  assert.deepEqual(values(id), { way: "to a width", "way.width": 512, method: "b" });
  assert.deepEqual(document.root.node(id).inputs.map(({ name }) => name), ["image", "way.like"], "a socket that came with the choice");
  assert.equal(inputNamed(document.root.node(id), of("Resize"), "way.width").options.default, 512);
  document.undo();
  document.undo();
  assert.equal(values(id)["way.width"], 64);
  const face = faceOf(document, document.root, document.root.node(id), definitions);
  assert.deepEqual(face.widgets.map(({ label }) => label), ["way", "width", "height", "crop", "method"]);
});

test("such a node goes to the API and comes back, whatever the order of its values", () => {
  const { document, add } = graph();
  const [picture, id, batch] = [add("Picture"), add("Resize"), add("Batch")];
  setWidget(document, "root", id, of("Resize"), "way", "by a factor");
  setWidget(document, "root", id, of("Resize"), "way.factor", 3);
  connect(document, "root", { node: picture, slot: 0 }, { node: id, slot: 0 });
  connect(document, "root", { node: id, slot: 0 }, { node: batch, slot: 1 });
  const { prompt } = toPrompt(document, definitions);
  assert.deepEqual(prompt[String(id)].inputs, { way: "by a factor", "way.factor": 3, method: "a", image: [String(picture), 0] });
  assert.deepEqual(prompt[String(batch)].inputs, { "images.image1": [String(id), 0] });
  const turned = structuredClone(prompt);
  turned[String(id)].inputs = Object.fromEntries(Object.entries(turned[String(id)].inputs).reverse());
  assert.deepEqual(toPrompt(fromPrompt(turned, definitions).document, definitions).prompt, prompt);
  const again = readWorkflow(JSON.parse(JSON.stringify(writeWorkflow(document)))).document;
  assert.deepEqual(toPrompt(again, definitions).prompt, prompt);
});

test("a row of inputs grows when its last one is linked, up to its end", () => {
  const { document, add } = graph();
  const batch = add("Batch");
  const names = () => document.root.node(batch).inputs.map(({ name }) => name);
  assert.deepEqual(names(), ["images.image0", "images.image1"]);
  for (let slot = 0; slot < 4; slot++) {
    connect(document, "root", { node: add("Picture"), slot: 0 }, { node: batch, slot });
    growInputs(document, "root", batch, of("Batch"));
    assert.equal(names().length, [2, 3, 4, 4][slot]);
  }
  const sum = add("Sum");
  assert.deepEqual(document.root.node(sum).inputs.map(({ name, type }) => [name, type]), [["values.a", "FLOAT,INT"]]);
});

test("rows grow as well when a node is put on a link or swapped, and take over links", () => {
  const { document, add } = graph();
  const [first, second] = [add("Batch"), add("Batch")];
  const sources = [add("Picture"), add("Picture"), add("Picture")];
  connect(document, "root", { node: sources[0], slot: 0 }, { node: first, slot: 0 });
  const [wire] = document.root.linked.into(first);
  connect(document, "root", { node: sources[1], slot: 0 }, { node: second, slot: 0 });
  assert.equal(insertOnLink(document, "root", second, wire.id, of("Batch")), true);
  assert.deepEqual(document.root.node(second).inputs.map(({ name }) => name), ["images.image0", "images.image1", "images.image2"]);
  connect(document, "root", { node: sources[2], slot: 0 }, { node: second, slot: 2 });
  swapNode(document, "root", second, of("Stack"), definitions);
  assert.deepEqual(document.root.node(second).inputs.map(({ name }) => name), ["pictures.p0", "pictures.p1", "pictures.p2", "pictures.p3"]);
  assert.deepEqual(document.root.linked.into(second).map(({ from }) => from).sort(), [...sources].sort());
  assert.equal(document.root.linked.input(first, 0).from, second);
});
