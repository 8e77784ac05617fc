import assert from "node:assert/strict";
import { test } from "node:test";

import { addNode, renameNode, setMode, setProperty, setValueAt, setWidget } from "../../web/core/commands/nodes.js";
import { addSocket, connect } from "../../web/core/commands/links.js";
import { Document } from "../../web/core/document.js";
import { expandText } from "../../web/format/dynamic_text.js";
import { FROZEN, freeze, ownerOf } from "../../web/format/frozen.js";
import { fillIn, formatDate } from "../../web/format/filename_text.js";
import { fromPrompt } from "../../web/format/from_prompt.js";
import { toPrompt } from "../../web/format/prompt.js";
import { BadWorkflow, readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { add, definitions, link, seeded, textToImage, withSubgraph } from "./graphs.mjs";

const convert = (doc, options) => toPrompt(doc, definitions, options).prompt;

test("widgets by name, links by id, titles", () => {
  const doc = textToImage();
  setWidget(doc, "root", 2, definitions.get("Encode"), "text", "a cat");
  setWidget(doc, "root", 4, definitions.get("Sample"), "sampler_name", "ddim");
  renameNode(doc, "root", 4, "Mine");
  const { prompt, problems } = toPrompt(doc, definitions);
  assert.deepEqual(problems, []);
  assert.deepEqual(prompt[4], {
    class_type: "Sample",
    inputs: { seed: 0, steps: 20, cfg: 8, sampler_name: "ddim", model: ["1", 0], positive: ["2", 0], latent_image: ["3", 0] },
    _meta: { title: "Mine" },
  });
  assert.equal(prompt[1]._meta.title, "Load Model");
  assert.deepEqual(prompt[2].inputs, { text: "a cat", clip: ["1", 1] });
});

test("a frozen node runs with what fed it then, beside what is there now", () => {
  const doc = textToImage();
  setWidget(doc, "root", 2, definitions.get("Encode"), "text", "a cat");
  const before = convert(doc);
  setProperty(doc, "root", 4, FROZEN, freeze(before, "4"));
  setWidget(doc, "root", 2, definitions.get("Encode"), "text", "a dog");
  setWidget(doc, "root", 4, definitions.get("Sample"), "steps", 1);
  const prompt = convert(readWorkflow(JSON.parse(JSON.stringify(writeWorkflow(doc)))).document);
  assert.deepEqual(prompt[4].inputs, { ...before[4].inputs, model: ["4~1", 0], positive: ["4~2", 0], latent_image: ["4~3", 0] });
  assert.deepEqual(prompt["4~2"], { ...before[2], inputs: { text: "a cat", clip: ["4~1", 1] } });
  assert.equal(prompt[2].inputs.text, "a dog");
  assert.deepEqual(prompt[5].inputs.samples, ["4", 0]);
  assert.equal(ownerOf("4~2"), "4");
  for (const bad of [3, {}, { node: "9", prompt: before }, { node: "2", prompt: before }, { node: "4", prompt: { 4: null } }]) {
    setProperty(doc, "root", 4, FROZEN, bad);
    assert.equal(convert(doc)[4].inputs.steps, 1);
  }
});

test("muted nodes and links to them are left out", () => {
  const doc = textToImage();
  setMode(doc, "root", [2], 2);
  const prompt = convert(doc);
  assert.equal("2" in prompt, false);
  assert.equal("positive" in prompt[4].inputs, false);
});

test("a bypassed node passes on what fits", () => {
  const doc = textToImage();
  const mix = add(doc, "Mix");
  const picture = add(doc, "Picture");
  link(doc, picture, "MASK", mix, "mask");
  link(doc, 5, "IMAGE", mix, "two");
  link(doc, mix, "IMAGE", 6, "images");
  setMode(doc, "root", [mix], 4);
  assert.equal("images" in convert(doc)[6].inputs, false, "the input of the same index fits, but nothing arrives there");
  link(doc, picture, "IMAGE", mix, "one");
  assert.deepEqual(convert(doc)[6].inputs.images, [String(picture), 0]);
  setMode(doc, "root", [5], 4);
  link(doc, 5, "IMAGE", 6, "images");
  assert.equal("images" in convert(doc)[6].inputs, false, "a latent is no image");
});

test("a bypassed node before a wildcard passes on the input of the same index, else the first", () => {
  const doc = textToImage();
  const any = add(doc, "Any");
  link(doc, 4, "LATENT", any, "anything");
  setMode(doc, "root", [4], 4);
  assert.deepEqual(convert(doc)[any].inputs.anything, ["1", 0]);
});

test("reroutes and primitives are resolved, notes are nothing", () => {
  const doc = textToImage();
  const bend = addNode(doc, "root", "Reroute", null, { inputs: [{ name: "", type: "*" }], outputs: [{ name: "", type: "*" }] });
  addNode(doc, "root", "Note", null, { widgets_values: ["hello"] });
  const number = addNode(doc, "root", "PrimitiveNode", null, { outputs: [{ name: "INT", type: "INT" }], widgets_values: [33, "fixed"] });
  connect(doc, "root", { node: 4, slot: 0 }, { node: bend, slot: 0 });
  connect(doc, "root", { node: bend, slot: 0 }, { node: 5, slot: 0 });
  link(doc, number, "INT", 4, "steps");
  const { prompt, problems } = toPrompt(doc, definitions);
  assert.deepEqual(problems, []);
  assert.deepEqual(Object.keys(prompt), ["1", "2", "3", "4", "5", "6"]);
  assert.deepEqual(prompt[5].inputs.samples, ["4", 0]);
  assert.equal(prompt[4].inputs.steps, 33);
});

test("subgraphs are flattened, promoted values go inside", () => {
  const { document: doc } = readWorkflow(withSubgraph());
  const prompt = convert(doc);
  assert.deepEqual(Object.keys(prompt).sort(), ["1", "3", "5:2", "5:4", "6"]);
  assert.deepEqual(prompt["5:2"].inputs, { text: "a cat", clip: ["1", 1] });
  assert.deepEqual(prompt["5:4"].inputs, { seed: 5, steps: 7, cfg: 8, sampler_name: "euler", model: ["1", 0], positive: ["5:2", 0], latent_image: ["3", 0] });
  assert.deepEqual(prompt[6].inputs.anything, ["5:4", 0]);
});

test("an instance without values leaves the inner ones alone; a linked one wins", () => {
  const file = withSubgraph();
  file.nodes[2].widgets_values = [];
  const { document: doc } = readWorkflow(file);
  assert.equal(convert(doc)["5:2"].inputs.text, "inside");
  const number = add(doc, "Number");
  link(doc, number, "INT", 5, "steps");
  assert.deepEqual(convert(doc)["5:4"].inputs.steps, [String(number), 0]);
});

test("without a value outside, the first widget an input feeds stands for all it feeds", () => {
  const file = withSubgraph();
  const [definition] = file.definitions.subgraphs;
  file.nodes[2].widgets_values = [];
  definition.inputs[3].linkIds.push(8);
  definition.links.push({ id: 8, origin_id: -10, origin_slot: 3, target_id: 9, target_slot: 0, type: "STRING" });
  definition.nodes.push({ id: 9, type: "Encode", pos: [0, 0], size: [1, 1], inputs: [{ name: "text", type: "STRING", widget: { name: "text" }, link: 8 }], outputs: [], widgets_values: ["other"] });
  const prompt = convert(readWorkflow(file).document);
  assert.deepEqual([prompt["5:2"].inputs.text, prompt["5:9"].inputs.text], ["inside", "inside"]);
});

test("a subgraph in a subgraph, used twice", () => {
  const file = withSubgraph();
  const [definition] = file.definitions.subgraphs;
  const outer = { ...structuredClone(definition), id: "outer", name: "Outer", nodes: [{ ...file.nodes[2], id: 8, inputs: file.nodes[2].inputs.map((slot, i) => ({ ...slot, link: i + 1 })), outputs: [{ name: "LATENT", type: "LATENT", links: [7] }] }] };
  outer.links = definition.inputs.map((slot, i) => ({ id: i + 1, origin_id: -10, origin_slot: i, target_id: 8, target_slot: i, type: slot.type }));
  outer.links.push({ id: 7, origin_id: 8, origin_slot: 0, target_id: -20, target_slot: 0, type: "LATENT" });
  file.definitions.subgraphs.push(outer);
  file.nodes[2].type = "outer";
  file.nodes.push({ ...structuredClone(file.nodes[2]), id: 7, inputs: file.nodes[2].inputs.map((slot) => ({ ...slot, link: null })), outputs: [], widgets_values: ["a dog"] });
  const { document: doc, problems } = readWorkflow(file);
  assert.deepEqual(problems, []);
  const prompt = convert(doc);
  assert.equal(prompt["5:8:2"].inputs.text, "a cat");
  assert.equal(prompt["7:8:2"].inputs.text, "a dog");
  assert.equal(prompt["7:8:4"].inputs.steps, 7, "no value outside: that of the instance inside");
  assert.deepEqual(prompt["5:8:4"].inputs.model, ["1", 0]);
  assert.equal("model" in prompt["7:8:4"].inputs, false);
  assert.deepEqual(prompt[6].inputs.anything, ["5:8:4", 0]);
});

test("what has no end is named, not followed", () => {
  const file = withSubgraph();
  const [definition] = file.definitions.subgraphs;
  definition.nodes.push({ id: 9, type: definition.id, pos: [0, 0], size: [1, 1], inputs: [], outputs: [] });
  const { problems } = toPrompt(readWorkflow(file).document, definitions);
  assert.match(problems[0].message, /Inner contains itself/);

  const doc = new Document();
  const bends = [1, 2].map(() => addNode(doc, "root", "Reroute", null, { inputs: [{ name: "", type: "*" }], outputs: [{ name: "", type: "*" }] }));
  const any = add(doc, "Any");
  for (const [from, to] of [[bends[0], bends[1]], [bends[1], bends[0]], [bends[1], any]]) connect(doc, "root", { node: from, slot: 0 }, { node: to, slot: 0 });
  const circle = toPrompt(doc, definitions);
  assert.match(circle.problems[0].message, /circle/);
  assert.deepEqual(circle.prompt[any].inputs, {});
});

test("unknown nodes keep links, and values the file has names for", () => {
  const doc = textToImage();
  const ghost = addNode(doc, "root", "Ghost", null, { widgets_values: { strength: 3 } });
  addSocket(doc, "root", ghost, "inputs", { name: "image", type: "IMAGE" });
  connect(doc, "root", { node: 5, slot: 0 }, { node: ghost, slot: 0 });
  assert.deepEqual(convert(doc)[ghost].inputs, { strength: 3, image: ["5", 0] });
  const nameless = addNode(doc, "root", "Ghost", null, { widgets_values: [1, 2] });
  const inputs = [{ name: "image", type: "IMAGE" }, ...["size", "seed"].map((name) => ({ name, type: "INT", widget: { name } }))];
  const sockets = addNode(doc, "root", "Ghost", null, { inputs, widgets_values: [3, 4, "randomize"] });
  const odd = addNode(doc, "root", "Ghost", null, { inputs, widgets_values: [3, 4, "more", 5] });
  const named = addNode(doc, "root", "Ghost", null, { widgets_values: [1], widgets_values_named: { seed: 1, control_after_generate: "fixed" } });
  const { prompt, problems } = toPrompt(doc, definitions);
  assert.deepEqual(prompt[nameless].inputs, {});
  assert.deepEqual(prompt[sockets].inputs, { size: 3, seed: 4 });
  assert.deepEqual(prompt[odd].inputs, {});
  assert.deepEqual(prompt[named].inputs, { seed: 1 });
  const said = problems.map((problem) => [problem.node, /no node Ghost.*not sent/.test(problem.message)]);
  assert.deepEqual(said, [[ghost, false], [nameless, true], [sockets, false], [odd, true], [named, false]]);
});

test("lists are wrapped, dynamic texts expanded in the prompt only", () => {
  const doc = new Document();
  const list = add(doc, "List");
  setWidget(doc, "root", list, definitions.get("List"), "values", [1, 2]);
  const encode = add(doc, "Encode");
  setWidget(doc, "root", encode, definitions.get("Encode"), "text", "a {red|{blue|green}} cat // comment");
  const prompt = convert(doc, { random: () => 0.99 });
  assert.deepEqual(prompt[list].inputs, { values: { __value__: [1, 2] }, seed: 0 });
  assert.equal(prompt[encode].inputs.text, "a green cat ");
  assert.equal(writeWorkflow(doc).nodes[1].widgets_values[0], "a {red|{blue|green}} cat // comment");
});

test("dynamic text", () => {
  const first = () => 0;
  for (const [text, expected] of [
    ["{a|b} c", "a c"], ["\\{a|b\\}", "{a|b}"], ["{a", "a"], ["a|b}", "a|b}"], ["{|x}y", "y"], ["x /* {a|b} \n */ y", "x  y"], ["{a{b|c}d|e}", "abd"],
  ]) assert.equal(expandText(text, first), expected);
  const random = seeded(1);
  assert.deepEqual(new Set(Array.from({ length: 60 }, () => expandText("{a|b|c}", random))), new Set(["a", "b", "c"]));
});

test("names of files", () => {
  const now = new Date(2026, 10, 5, 7, 8, 9);
  assert.equal(formatDate("yyyy-MM-dd hhmmss d/M/yy", now), "2026-11-05 070809 5/11/26");
  assert.equal(fillIn("%A.b%_%year%_%A.c%", now, (node, widget) => (node === "A" && widget === "b" ? "x/y" : undefined)), "x_y_%year%_%A.c%");
  const doc = textToImage();
  setWidget(doc, "root", 6, definitions.get("SaveImage"), "filename_prefix", "%date:yyyy%/%Sample.steps% %width%");
  assert.equal(convert(doc, { now })[6].inputs.filename_prefix, "2026/20 %width%");
  const text = addNode(doc, "root", "PrimitiveNode", null, { outputs: [{ name: "STRING", type: "STRING" }], widgets_values: ["%Sample.cfg%"] });
  link(doc, text, "STRING", 2, "text");
  assert.equal(convert(doc)[2].inputs.text, "%Sample.cfg%");
  setProperty(doc, "root", text, "Run widget replace on values", true);
  assert.equal(convert(doc)[2].inputs.text, "8");
});

test("group nodes of the old kind are named", () => {
  const doc = new Document();
  addNode(doc, "root", "workflow/Mine", null);
  assert.match(toPrompt(doc, definitions).problems[0].message, /workflow\/Mine is a group node of an old kind/);
});

test("from the API form and back is the same graph", () => {
  const doc = textToImage();
  link(doc, add(doc, "Number"), "INT", 4, "steps");
  setWidget(doc, "root", 4, definitions.get("Sample"), "seed", 99);
  renameNode(doc, "root", 5, "Mine");
  const prompt = convert(doc);
  prompt["x:1"] = { class_type: "Ghost", inputs: { image: ["5", 0], strength: 2, list: { __value__: [1, 2] } }, _meta: { title: "Ghost" } };
  const { document: imported, problems } = fromPrompt(JSON.parse(JSON.stringify(prompt)), definitions);
  assert.deepEqual(problems.map((problem) => problem.message), ["The server has no node Ghost; it is kept with its values and links."]);
  assert.deepEqual(convert(imported), prompt);
  const places = [...imported.root.nodes.values()].map((node) => String(node.pos));
  assert.equal(new Set(places).size, places.length, "every node has a place of its own");
  assert.ok(imported.dirty);
  const saved = readWorkflow(JSON.parse(JSON.stringify(writeWorkflow(imported))));
  assert.deepEqual(saved.problems, []);
  assert.deepEqual(convert(saved.document), prompt);
});

test("what an API graph says in vain is named", () => {
  const { problems } = fromPrompt({ 1: { class_type: "Decode", inputs: { samples: ["9", 0], upload: "image" } } }, definitions);
  assert.deepEqual(problems.map((problem) => problem.message), [
    "The input samples is linked to node 9, which is not there.",
    'Decode has no value named upload; "image" was left out.',
  ]);
  assert.throws(() => fromPrompt({ nodes: [] }, definitions), BadWorkflow);
});

test("a value changed on an instance reaches the inner node", () => {
  const { document: doc } = readWorkflow(withSubgraph());
  setValueAt(doc, "root", 5, 0, "a fox");
  assert.equal(convert(doc)["5:2"].inputs.text, "a fox");
  doc.undo();
  assert.equal(convert(doc)["5:2"].inputs.text, "a cat");
});

test("values are saved by name beside their positions, and survive a type that gains an input", () => {
  const doc = textToImage();
  setWidget(doc, "root", 4, definitions.get("Sample"), "steps", 33);
  addNode(doc, "root", "Ghost", null, { widgets_values: [1] });
  const file = JSON.parse(JSON.stringify(writeWorkflow(doc, definitions)));
  const sampler = file.nodes.find((node) => node.id === 4);
  assert.equal(sampler.widgets_values_named.steps, 33);
  assert.deepEqual(Object.keys(sampler.widgets_values_named), ["seed", "steps", "cfg", "sampler_name"]);
  assert.equal("widgets_values_named" in file.nodes.find((node) => node.type === "Ghost"), false);
  assert.equal("widgets_values_named" in writeWorkflow(doc).nodes.find((node) => node.id === 4), false);
  sampler.widgets_values.unshift("something new");
  const { prompt } = toPrompt(readWorkflow(file).document, definitions);
  assert.equal(prompt[4].inputs.steps, 33);
});
