import assert from "node:assert/strict";
import { test } from "node:test";

import { addReroute } from "../../web/core/commands/links.js";
import { setMode, setWidget } from "../../web/core/commands/nodes.js";
import { createSubgraph } from "../../web/core/commands/subgraphs.js";
import { toPrompt } from "../../web/format/prompt.js";
import { readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { add, definitions, link, seeded, textToImage, withSubgraph } from "./graphs.mjs";

const json = (doc) => JSON.stringify(writeWorkflow(doc));

/** The prompt with ids as if nothing had been moved: "9:4" is "4". */
function unpacked(doc, instance) {
  const { prompt, problems } = toPrompt(doc, definitions);
  assert.deepEqual(problems, []);
  const plain = (id) => (id.startsWith(`${instance}:`) ? id.slice(`${instance}:`.length) : id);
  const inputs = (node) => Object.entries(node.inputs).map(([name, value]) => [name, Array.isArray(value) ? [plain(value[0]), value[1]] : value]);
  return Object.fromEntries(Object.entries(prompt).map(([id, node]) => [plain(id), { ...node, inputs: Object.fromEntries(inputs(node)) }]));
}

test("any part of a graph can become a subgraph: what runs stays the same", () => {
  const random = seeded(3);
  for (let round = 0; round < 60; round++) {
    const doc = textToImage();
    const number = add(doc, "Number");
    link(doc, number, "INT", 4, "steps");
    link(doc, number, "INT", 3, "width");
    const second = add(doc, "Decode");
    link(doc, 4, "LATENT", second, "samples");
    link(doc, 1, "VAE", second, "vae");
    const mix = add(doc, "Mix");
    link(doc, 5, "IMAGE", mix, "one");
    link(doc, second, "IMAGE", mix, "two");
    if (random() < 0.3) setMode(doc, "root", [2], 2);
    setWidget(doc, "root", 3, definitions.get("Blank"), "height", 77);
    addReroute(doc, "root", doc.root.linked.input(4, 0).id, [1, 2]);
    const expected = toPrompt(doc, definitions).prompt;
    const before = json(doc);
    const ids = [...doc.root.nodes.keys()].filter(() => random() < 0.5);
    if (!ids.length) continue;
    const id = createSubgraph(doc, "root", ids, "d-1", "Part");
    assert.deepEqual(unpacked(doc, id), expected);
    assert.deepEqual([...doc.graph("d-1").nodes.keys()].sort(), ids.sort());
    const after = json(doc);
    const again = readWorkflow(JSON.parse(after));
    assert.deepEqual(again.problems, []);
    assert.deepEqual(unpacked(again.document, id), expected);
    doc.undo();
    assert.equal(json(doc), before);
    assert.deepEqual(doc.definitions, []);
    assert.throws(() => doc.graph("d-1"), /no graph d-1/);
    doc.redo();
    assert.equal(json(doc), after);
  }
});

test("inside a subgraph, over its border", () => {
  const { document: doc } = readWorkflow(withSubgraph());
  const [outer] = doc.definitions;
  const expected = toPrompt(doc, definitions).prompt;
  const id = createSubgraph(doc, outer, [4], "d-2");
  const { prompt } = toPrompt(doc, definitions);
  assert.deepEqual(prompt[`5:${id}:4`].inputs, expected["5:4"].inputs);
  assert.deepEqual(prompt[6].inputs.anything, [`5:${id}:4`, 0]);
});

test("what cannot be is said", () => {
  const doc = textToImage();
  assert.throws(() => createSubgraph(doc, "root", [], "d"), /Nothing is selected/);
  assert.throws(() => createSubgraph(doc, "root", [1], "root"), /already/);
});
