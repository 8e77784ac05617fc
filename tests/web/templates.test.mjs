// Every ready-made graph opens in the editor without a complaint, and is written back as it was read.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";
import { readWorkflow, writeWorkflow } from "../../web/format/workflow.js";

const folder = new URL("../../web/templates/", import.meta.url);
const names = (await readdir(folder)).filter((name) => name.endsWith(".json") && name !== "index.json");

test("the gallery is not empty", () => assert.ok(names.length > 20));

for (const name of names) {
  test(name, async () => {
    const file = JSON.parse(await readFile(new URL(name, folder), "utf8"));
    const { document, problems } = readWorkflow(file);
    assert.deepEqual(problems, []);
    const again = writeWorkflow(document);
    assert.deepEqual(again.nodes.map((node) => [node.id, node.type, node.widgets_values]), file.nodes.map((node) => [node.id, node.type, node.widgets_values]));
    assert.deepEqual(again.links, file.links);
  });
}
