// Every reference file: opened and saved it means the same, and its graph in API form is the one that was stored with it.
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { Definitions } from "../../web/core/definitions.js";
import { fromPrompt } from "../../web/format/from_prompt.js";
import { toPrompt } from "../../web/format/prompt.js";
import { readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { absent, shared, sharedJson } from "./graphs.mjs";

const files = absent ? [] : readdirSync(`${shared}workflows`).sort();
const definitions = absent ? null : new Definitions(sharedJson("object_info.json"));

test("reference files", { skip: absent }, async (t) => {
  assert.ok(files.length > 0);
  for (const name of files.filter((each) => each.endsWith(".workflow.json"))) {
    await t.test(`${name} round trip`, () => {
      const { document, problems } = readWorkflow(sharedJson(`workflows/${name}`));
      assert.deepEqual(problems, []);
      assert.deepEqual(meaning(JSON.parse(JSON.stringify(writeWorkflow(document)))), meaning(sharedJson(`workflows/${name}`)));
    });
    const stored = `workflows/${name.replace(".workflow.", ".prompt.")}`;
    if (!existsSync(shared + stored)) continue;
    await t.test(`${name} as prompt`, () => {
      const expected = sharedJson(stored);
      const { prompt } = toPrompt(readWorkflow(sharedJson(`workflows/${name}`)).document, definitions, { random: () => 0 });
      compare(prompt, expected);
      const { prompt: again } = toPrompt(fromPrompt(structuredClone(prompt), definitions).document, definitions, { random: () => 0 });
      assert.deepEqual(again, prompt);
    });
  }
});

/** Equal but for keys of buttons, defaults of inputs that were added later, and values of nodes this list of definitions lacks. */
function compare(prompt, expected) {
  assert.deepEqual(Object.keys(prompt).sort(), Object.keys(expected).sort());
  for (const [id, node] of Object.entries(expected)) {
    const got = prompt[id];
    const definition = definitions.get(node.class_type);
    assert.equal(got.class_type, definition?.type ?? node.class_type);
    for (const [name, value] of Object.entries(node.inputs)) {
      const declared = definition?.inputs.some((input) => input.name === name);
      const isLink = Array.isArray(value) && typeof value[0] === "string";
      if (declared || isLink) assert.deepEqual(got.inputs[name], value, `${id} ${node.class_type}.${name}`);
      else assert.ok(!definition || ["upload", "choose file to upload"].includes(name), `${node.class_type}.${name} is not declared`);
    }
    for (const name of Object.keys(got.inputs).filter((each) => !(each in node.inputs))) {
      const input = definition?.inputs.find((each) => each.name === name);
      assert.deepEqual(got.inputs[name], input?.options.default ?? input?.choices?.[0], `${id} ${node.class_type}.${name} was added later`);
    }
  }
}

/** A file without what means nothing: null or [] for no links, points as objects, lists of links that are no more, where a link falsely says it ends. */
function meaning(file) {
  const graph = (json) => {
    const claimed = new Map();
    for (const node of json.nodes) (node.inputs ?? []).forEach((slot, i) => claimed.set(slot.link, [node.id, i]));
    const known = new Set(json.links.filter((link) => claimed.has(link[0] ?? link.id) || link.target_id === -20).map((link) => link[0] ?? link.id));
    const real = (ids) => [...new Set(ids ?? [])].filter((id) => known.has(id)).sort();
    const boundary = (slot) => ({ ...slot, linkIds: real(slot.linkIds) });
    const pair = (value) => [value[0], value[1]];
    return {
      ...json,
      groups: json.groups?.map(({ id: _id, ...group }) => group),
      nodes: json.nodes.map((node) => ({
        ...node,
        pos: pair(node.pos),
        size: pair(node.size),
        ...(node.inputs && { inputs: node.inputs.map((slot) => ({ ...slot, link: slot.link ?? null })) }),
        ...(node.outputs && { outputs: node.outputs.map((slot) => ({ ...slot, links: real(slot.links) })) }),
      })),
      links: json.links
        .map((link) => (Array.isArray(link) && claimed.has(link[0]) ? [...link.slice(0, 3), ...claimed.get(link[0]), link[5]] : link))
        .sort((a, b) => (a[0] ?? a.id) - (b[0] ?? b.id)),
      ...(json.inputs && { inputs: json.inputs.map(boundary) }),
      ...(json.outputs && { outputs: json.outputs.map(boundary) }),
      ...(json.definitions && { definitions: { ...json.definitions, subgraphs: json.definitions.subgraphs?.map(graph) ?? [] } }),
    };
  };
  return graph(file);
}
