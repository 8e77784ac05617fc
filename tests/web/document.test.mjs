import assert from "node:assert/strict";
import { test } from "node:test";

import { addGroup, inside, moveGroup } from "../../web/core/commands/groups.js";
import { RefusedLink, addReroute, addSocket, connect, disconnectInput, removeReroute, removeSocket } from "../../web/core/commands/links.js";
import * as nodes from "../../web/core/commands/nodes.js";
import { Document, touched } from "../../web/core/document.js";
import { Selection } from "../../web/core/selection.js";
import { writeWorkflow } from "../../web/format/workflow.js";
import { add, definitions, link, textToImage } from "./graphs.mjs";

const json = (doc) => JSON.stringify(writeWorkflow(doc));

test("an edit is undone and redone as a whole, and told once", () => {
  const doc = textToImage();
  const before = json(doc);
  const heard = [];
  doc.subscribe((change) => heard.push(change));
  doc.edit("Two things", () => {
    nodes.renameNode(doc, "root", 4, "Mine");
    nodes.moveNodes(doc, "root", [4, 5], 10, -5);
  });
  assert.equal(doc.root.node(4).title, "Mine");
  assert.equal(heard.length, 1);
  assert.equal(heard[0].label, "Two things");
  assert.deepEqual(touched(heard[0], "root", "nodes"), new Set([4, 5]));
  assert.equal(heard[0].patches.length, 2, "a record changed twice is one patch");
  const after = json(doc);
  assert.ok(doc.undo());
  assert.equal(json(doc), before);
  assert.equal(heard[1].origin, "undo");
  assert.ok(doc.redo());
  assert.equal(json(doc), after);
  assert.equal(doc.redo(), false);
});

test("an edit that throws leaves nothing behind", () => {
  const doc = textToImage();
  const before = json(doc);
  const label = doc.undoLabel;
  let heard = 0;
  doc.subscribe(() => heard++);
  assert.throws(() => doc.edit("Half", () => {
    nodes.removeNodes(doc, "root", [1, 4]);
    nodes.renameNode(doc, "root", 99, "nobody");
  }), /no node 99/);
  assert.equal(json(doc), before);
  assert.equal(doc.undoLabel, label);
  assert.equal(heard, 0);
  assert.equal(doc.root.linked.output(1, 0).length, 1, "links are found again");
});

test("an edit inside an edit that throws takes back only its own part", () => {
  const doc = textToImage();
  const before = json(doc);
  doc.edit("Outer", () => {
    nodes.renameNode(doc, "root", 1, "kept");
    assert.throws(() => doc.edit("Inner", () => {
      nodes.renameNode(doc, "root", 1, "lost");
      nodes.removeNodes(doc, "root", [4]);
      throw new Error("on purpose");
    }), /on purpose/);
    assert.ok(doc.root.nodes.has(4));
  });
  assert.equal(doc.root.node(1).title, "kept");
  assert.equal(doc.root.linked.input(4, 0).from, 1);
  doc.undo();
  assert.equal(json(doc), before);
});

test("records cannot be changed from outside", () => {
  const doc = textToImage();
  const node = doc.root.node(4);
  assert.throws(() => { node.title = "x"; }, TypeError);
  assert.throws(() => { node.pos[0] = 1; }, TypeError);
  assert.throws(() => { node.inputs[0].name = "x"; }, TypeError);
});

test("a drag is one step, and ends where it is sealed", () => {
  const doc = textToImage();
  const start = doc.root.node(2).pos;
  for (let i = 0; i < 50; i++) nodes.moveNodes(doc, "root", [2], 1, 2, { merge: "drag" });
  doc.seal();
  nodes.moveNodes(doc, "root", [2], 100, 0, { merge: "drag" });
  assert.deepEqual(doc.root.node(2).pos, [start[0] + 150, start[1] + 100]);
  doc.undo();
  assert.deepEqual(doc.root.node(2).pos, [start[0] + 50, start[1] + 100]);
  doc.undo();
  assert.deepEqual(doc.root.node(2).pos, start);
});

test("typing in two fields is two steps, and an edit between parts it", () => {
  const doc = textToImage();
  const type = (id, text) => nodes.setWidget(doc, "root", id, definitions.get("Encode"), "text", text, { merge: `text ${id}` });
  for (const text of ["a", "a ", "a c"]) type(2, text);
  nodes.moveNodes(doc, "root", [1], 1, 1);
  type(2, "a ca");
  type(2, "a cat");
  doc.undo();
  assert.deepEqual(doc.root.node(2).widgets_values, ["a c"]);
  doc.undo();
  doc.undo();
  assert.deepEqual(doc.root.node(2).widgets_values, [""]);
});

test("a drag that is undone leaves a saved document saved", () => {
  const doc = textToImage();
  doc.markSaved();
  nodes.moveNodes(doc, "root", [2], 5, 5, { merge: "drag" });
  assert.ok(doc.dirty);
  doc.undo();
  assert.equal(doc.dirty, false);
});

test("dirty follows the history", () => {
  const doc = new Document();
  assert.equal(doc.dirty, false);
  add(doc, "Blank");
  assert.ok(doc.dirty);
  doc.markSaved();
  assert.equal(doc.dirty, false);
  nodes.renameNode(doc, "root", 1, "x");
  doc.undo();
  assert.equal(doc.dirty, false);
  doc.undo();
  assert.ok(doc.dirty, "undone beyond what was saved");
  add(doc, "Decode");
  doc.undo();
  assert.ok(doc.dirty, "the saved state is out of reach");
});

test("only so many steps are kept", () => {
  const doc = new Document({ history: 3 });
  for (let i = 0; i < 5; i++) add(doc, "Blank");
  while (doc.undo());
  assert.equal(doc.root.nodes.size, 2);
  assert.ok(doc.dirty);
});

test("a listener that fails does not keep the news from the others", () => {
  const doc = new Document();
  let heard = 0;
  doc.subscribe(() => { throw new Error("mine"); });
  doc.subscribe(() => heard++);
  assert.throws(() => add(doc, "Blank"), /mine/);
  assert.equal(heard, 1);
  assert.equal(doc.root.nodes.size, 1);
});

test("undo inside an edit is refused", () => {
  const doc = textToImage();
  assert.throws(() => doc.edit("x", () => doc.undo()), /middle of an edit/);
});

test("patches can be applied to another document", () => {
  const one = textToImage();
  const two = textToImage();
  const heard = [];
  one.subscribe((change) => heard.push(...JSON.parse(JSON.stringify(change.patches))));
  nodes.removeNodes(one, "root", [4]);
  add(one, "Mix", { pos: [7, 7] });
  two.apply(heard);
  assert.equal(json(two), json(one));
  assert.ok(two.dirty);
});

test("links: one per input, types must fit, removing a node removes its links", () => {
  const doc = textToImage();
  assert.throws(() => link(doc, 1, "VAE", 4, "model"), (error) => error instanceof RefusedLink && /VAE does not fit MODEL/.test(error.message));
  const second = add(doc, "Blank");
  const count = doc.root.links.size;
  link(doc, second, "LATENT", 4, "latent_image");
  assert.equal(doc.root.links.size, count, "the old link is replaced");
  assert.equal(doc.root.linked.output(3, 0).length, 0);
  nodes.removeNodes(doc, "root", [4]);
  assert.equal(doc.root.links.size, 3);
  assert.equal(doc.root.linked.input(5, 0), undefined);
  doc.undo();
  assert.equal(doc.root.linked.input(5, 0).from, 4);
});

test("a linked widget gets a socket, once", () => {
  const doc = textToImage();
  const number = add(doc, "Number");
  link(doc, number, "INT", 4, "steps");
  const at = doc.root.inputIndex(4, "steps");
  assert.deepEqual(doc.root.node(4).inputs[at].widget, { name: "steps" });
  disconnectInput(doc, "root", { node: 4, slot: at });
  link(doc, number, "INT", 4, "steps");
  assert.equal(doc.root.node(4).inputs.filter((slot) => slot.name === "steps").length, 1);
});

test("removing a socket moves the links after it", () => {
  const doc = textToImage();
  assert.equal(addSocket(doc, "root", 4, "inputs", { name: "more", type: "VAE" }), 3);
  connect(doc, "root", { node: 1, slot: 2 }, { node: 4, slot: 3 });
  removeSocket(doc, "root", 4, "inputs", 1);
  assert.deepEqual(doc.root.node(4).inputs.map((slot, i) => [slot.name, doc.root.linked.input(4, i).from]), [["model", 1], ["latent_image", 3], ["more", 1]]);
  const before = json(doc);
  doc.undo();
  doc.redo();
  assert.equal(json(doc), before);
});

test("reroutes bend a link, and go with it", () => {
  const doc = textToImage();
  const id = doc.root.linked.input(6, 0).id;
  const first = addReroute(doc, "root", id, [1, 1]);
  const second = addReroute(doc, "root", id, [2, 2]);
  assert.deepEqual(doc.root.reroutesOf(doc.root.links.get(id)).map((each) => each.id), [first, second]);
  const file = writeWorkflow(doc);
  assert.deepEqual(file.extra.linkExtensions, [{ id, parentId: second }]);
  assert.deepEqual(file.extra.reroutes.map((each) => each.linkIds), [[id], [id]]);
  removeReroute(doc, "root", first);
  assert.deepEqual(doc.root.reroutesOf(doc.root.links.get(id)).map((each) => each.id), [second]);
  disconnectInput(doc, "root", { node: 6, slot: 0 });
  assert.equal(doc.root.reroutes.size, 0);
  doc.undo();
  assert.equal(doc.root.reroutes.size, 1);
});

test("a group moves what is inside it", () => {
  const doc = new Document();
  const a = add(doc, "Blank", { pos: [10, 10], size: [50, 50] });
  const b = add(doc, "Blank", { pos: [500, 500], size: [50, 50] });
  const group = addGroup(doc, "root", "G", [0, 0, 100, 100]);
  assert.deepEqual(inside(doc.root, [0, 0, 100, 100]).nodes, [a]);
  moveGroup(doc, "root", group, 5, 6);
  assert.deepEqual(doc.root.node(a).pos, [15, 16]);
  assert.deepEqual(doc.root.node(b).pos, [500, 500]);
  assert.deepEqual(doc.root.groups.get(group).bounding, [5, 6, 100, 100]);
});

test("flags, modes, colours, order", () => {
  const doc = textToImage();
  nodes.setCollapsed(doc, "root", [1, 2], true);
  nodes.setPinned(doc, "root", [1], true);
  nodes.setMode(doc, "root", [3], 4);
  nodes.setColour(doc, "root", [3], { color: "#111", bgcolor: "#222" });
  nodes.setProperty(doc, "root", 3, "note", { deep: [1] });
  nodes.bringToFront(doc, "root", [1]);
  nodes.resizeNode(doc, "root", 3, -5, 300);
  const file = writeWorkflow(doc);
  assert.equal(file.nodes.at(-1).id, 1);
  assert.deepEqual(file.nodes.at(-1).flags, { collapsed: true, pinned: true });
  const blank = file.nodes.find((node) => node.id === 3);
  assert.deepEqual([blank.mode, blank.color, blank.bgcolor, blank.size, blank.properties.note], [4, "#111", "#222", [10, 300], { deep: [1] }]);
  nodes.setCollapsed(doc, "root", [1], false);
  nodes.setColour(doc, "root", [3], null);
  assert.deepEqual(doc.root.node(1).flags, { pinned: true });
  assert.equal("color" in doc.root.node(3), false);
  assert.throws(() => nodes.moveNodes(doc, "root", [1], NaN, 0), /no place/);
});

test("ids are not used again", () => {
  const doc = new Document();
  const first = add(doc, "Blank");
  nodes.removeNodes(doc, "root", [first]);
  assert.equal(add(doc, "Blank"), first + 1);
});

test("selection is outside the history and forgets what is gone", () => {
  const doc = textToImage();
  const steps = doc.undoLabel;
  const selection = new Selection(doc, "root");
  selection.set([1, 4]);
  selection.toggle(5);
  assert.equal(doc.undoLabel, steps);
  nodes.removeNodes(doc, "root", [4]);
  assert.deepEqual(selection.selected.nodes, new Set([1, 5]));
  doc.undo();
  assert.deepEqual(selection.selected.nodes, new Set([1, 5]));
  selection.close();
});
