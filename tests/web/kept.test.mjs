// A document that is kept outside and taken up again: the same records, the same steps, the same dirty mark.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Document } from "../../web/core/document.js";
import { addNode, moveNodes } from "../../web/core/commands/nodes.js";
import { writeWorkflow } from "../../web/format/workflow.js";

function edited() {
  const document = new Document();
  const id = addNode(document, "root", "A", null);
  document.markSaved();
  moveNodes(document, "root", [id], 5, 5, { merge: "drag" });
  moveNodes(document, "root", [id], 5, 5, { merge: "drag" });
  addNode(document, "root", "B", null);
  document.undo();
  return document;
}

test("what was kept is taken up with its steps", () => {
  const before = edited();
  const after = Document.resume(structuredClone(before.keep()));
  assert.deepEqual(writeWorkflow(after), writeWorkflow(before));
  assert.equal(after.dirty, true);
  assert.equal(after.redoLabel, "Add node");
  assert.equal(after.redo(), true);
  assert.equal(after.root.nodes.size, 2);
  after.undo();
  after.undo();
  assert.equal(after.dirty, false, "back at what was saved");
  assert.deepEqual(after.root.node(1).pos, [0, 0]);
  after.undo();
  assert.equal(after.root.nodes.size, 0);
  assert.equal(after.undo(), false);
});

test("of many steps the last are kept", () => {
  const document = new Document();
  for (let i = 0; i < 10; i++) addNode(document, "root", "A", null);
  const after = Document.resume(structuredClone(document.keep(4)));
  for (let i = 0; i < 4; i++) assert.equal(after.undo(), true);
  assert.equal(after.undo(), false);
  assert.equal(after.root.nodes.size, 6);
  assert.equal(after.dirty, true);
});

test("records of what was taken up are frozen", () => {
  const after = Document.resume(structuredClone(edited().keep()));
  assert.ok(Object.isFrozen(after.root.node(1)) && Object.isFrozen(after.root.node(1).pos));
});
