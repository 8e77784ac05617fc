// The parts of the canvas that need no page: where things are, what is near, which names fit.
import assert from "node:assert/strict";
import { test } from "node:test";

import { align } from "../../web/canvas/align.js";
import { Camera, CLOSEST, FARTHEST } from "../../web/canvas/camera.js";
import { boundsOf, curvesThrough, distanceTo, middleOf, pointAt } from "../../web/canvas/curves.js";
import { faceOf } from "../../web/canvas/face.js";
import { cross, within } from "../../web/canvas/freehand.js";
import { match, rank } from "../../web/canvas/fuzzy.js";
import { Grid, touch } from "../../web/canvas/grid.js";
import { inputPlace, layoutOf, outputPlace, LINE, TITLE } from "../../web/canvas/layout.js";
import { paint } from "../../web/canvas/paint.js";
import { Scene, socketsOf } from "../../web/canvas/scene.js";
import { SvgBrush } from "../../web/canvas/svg_brush.js";
import { connect } from "../../web/core/commands/links.js";
import { addNode, moveNodes, removeNodes, setCollapsed, setWidget } from "../../web/core/commands/nodes.js";
import { Definitions } from "../../web/core/definitions.js";
import { Document } from "../../web/core/document.js";
import { ROOT } from "../../web/core/records.js";
import { IDLE } from "../../web/run/state.js";
import { readWorkflow } from "../../web/format/workflow.js";

const INFO = {
  Load: { input: { required: { name: [["a", "b"]] } }, output: ["MODEL", "CLIP"], output_name: ["MODEL", "CLIP"] },
  Text: { input: { required: { text: ["STRING", { multiline: true }], clip: ["CLIP"] } }, output: ["CONDITIONING"] },
  Sample: { input: { required: { model: ["MODEL"], seed: ["INT", { default: 0 }], positive: ["CONDITIONING"] } }, output: ["LATENT"] },
};
const definitions = new Definitions(INFO);
const measure = (widget) => (widget.input.options.multiline ? { height: 76, grows: true } : { height: LINE, grows: false });
const random = (seed) => () => ((seed = (seed * 16807) % 2147483647) - 1) / 2147483646;

function scene() {
  const document = new Document();
  const load = addNode(document, ROOT, "Load", definitions.get("Load"), { pos: [0, 0] });
  const text = addNode(document, ROOT, "Text", definitions.get("Text"), { pos: [500, 0] });
  const sample = addNode(document, ROOT, "Sample", definitions.get("Sample"), { pos: [1200, 40] });
  const made = new Scene(document, ROOT, () => definitions, measure, () => false);
  document.subscribe((change) => made.follow(change));
  return { document, made, load, text, sample };
}

test("a camera keeps what is under the pointer while it zooms, within its bounds", () => {
  const camera = new Camera();
  Object.assign(camera, { x: -40, y: 12, scale: 0.7, width: 900, height: 600 });
  const before = camera.toGraph(300, 200);
  for (const factor of [1.3, 0.4, 2, 0.9]) {
    camera.zoomAt(300, 200, factor);
    const after = camera.toGraph(300, 200);
    assert.ok(Math.abs(after[0] - before[0]) < 1e-9 && Math.abs(after[1] - before[1]) < 1e-9);
  }
  camera.zoomAt(0, 0, 1e9);
  assert.equal(camera.scale, CLOSEST);
  camera.zoomAt(0, 0, 1e-9);
  assert.equal(camera.scale, FARTHEST);
  const [x, y] = camera.toScreen(...camera.toGraph(17, 23));
  assert.ok(Math.abs(x - 17) < 1e-6 && Math.abs(y - 23) < 1e-6);
});

test("fitting shows all of a box and comes no nearer than asked", () => {
  const camera = new Camera();
  Object.assign(camera, { width: 800, height: 600 });
  camera.fit([100, 200, 4000, 1000]);
  const [x, y, w, h] = camera.visible();
  assert.ok(x <= 100 && y <= 200 && x + w >= 4100 && y + h >= 1200);
  camera.fit([0, 0, 10, 10]);
  assert.equal(camera.scale, 1);
});

test("the grid finds what a scan of all boxes finds, after any moves", () => {
  const next = random(5);
  const grid = new Grid();
  const boxes = new Map();
  for (let i = 0; i < 2000; i++) {
    const key = Math.floor(next() * 300);
    if (next() < 0.2) {
      grid.remove(key);
      boxes.delete(key);
    } else {
      const [x, y] = [next() * 20000 - 8000, next() * 20000 - 8000];
      const box = [x, y, x + next() * (next() < 0.05 ? 30000 : 500), y + next() * 700];
      grid.put(key, box);
      boxes.set(key, box);
    }
    if (i % 40) continue;
    const [rx, ry] = [next() * 20000 - 8000, next() * 20000 - 8000];
    const region = [rx, ry, rx + next() * 6000, ry + next() * 100];
    const scanned = [...boxes].filter(([, box]) => touch(box, region)).map(([each]) => each).sort((a, b) => a - b);
    assert.deepEqual(grid.touching(region).sort((a, b) => a - b), scanned);
  }
  assert.equal(grid.size, boxes.size);
});

test("curves start, bend and end where they should, inside their bounds", () => {
  const curves = curvesThrough([[0, 0], [300, -200], [100, 400]]);
  assert.equal(curves.length, 2);
  assert.deepEqual(pointAt(curves[0], 0), [0, 0]);
  assert.deepEqual(pointAt(curves[1], 1), [100, 400]);
  const [left, top, right, bottom] = boundsOf(curves);
  for (const curve of curves) {
    for (let t = 0; t <= 1; t += 0.05) {
      const [x, y] = pointAt(curve, t);
      assert.ok(x >= left && x <= right && y >= top && y <= bottom);
      assert.ok(distanceTo(curve, x, y) < 4, "a point of a curve is near it");
    }
  }
  assert.ok(distanceTo(curves[0], 5000, 5000) > 4000);
  assert.deepEqual(middleOf(curvesThrough([[0, 0], [100, 0]])).map(Math.round), [50, 0]);
});

test("a node is as large as it needs to be and as the file says; growing widgets take what is left", () => {
  const { made, text } = scene();
  const { node, face } = made.items.get(text);
  const natural = layoutOf({ ...node, size: [10, 10] }, face, measure, false);
  assert.ok(natural.width >= 120);
  assert.equal(natural.height, natural.smallest[1]);
  const tall = layoutOf({ ...node, size: [400, natural.height + 100] }, face, measure, false);
  assert.equal(tall.widgets[0].height, natural.widgets[0].height + 100);
  const media = layoutOf({ ...node, size: [400, 10] }, face, measure, true);
  assert.ok(media.media && media.media.y + media.media.height <= media.height);
  const shut = layoutOf({ ...node, flags: { collapsed: true } }, face, measure, true);
  assert.equal(shut.height, 0);
  assert.deepEqual(inputPlace(face, shut, 0), [0, -TITLE / 2]);
  assert.deepEqual(outputPlace(shut, 0), [shut.width, -TITLE / 2]);
});

test("a scene follows the document: moving, linking, collapsing, removing, undoing", () => {
  const { document, made, load, text, sample } = scene();
  connect(document, ROOT, { node: load, slot: 1 }, { node: text, slot: 0 });
  const link = connect(document, ROOT, { node: text, slot: 0 }, { node: sample, slot: 1 });
  const before = made.wires.get(link).curves;
  moveNodes(document, ROOT, [text], 30, 40);
  const after = made.wires.get(link).curves;
  assert.deepEqual(after[0].slice(0, 2), [before[0][0] + 30, before[0][1] + 40]);
  assert.deepEqual(after.at(-1).slice(6), before.at(-1).slice(6));
  assert.equal(made.nodeAt(540, 60).id, text);
  setCollapsed(document, ROOT, [text], true);
  assert.equal(made.items.get(text).shape.collapsed, true);
  assert.equal(made.nodeAt(540, 90), null);
  removeNodes(document, ROOT, [text]);
  assert.equal(made.items.size, 2);
  assert.equal(made.wires.size, 0);
  document.undo();
  assert.equal(made.items.size, 3);
  assert.equal(made.wires.size, 2);
  const fresh = new Scene(document, ROOT, () => definitions, measure, () => false);
  assert.deepEqual([...made.wires].map(([id, { bounds }]) => [id, bounds]).sort(), [...fresh.wires].map(([id, { bounds }]) => [id, bounds]).sort());
  assert.deepEqual([...made.items].map(([id, { bounds }]) => [id, bounds]).sort(), [...fresh.items].map(([id, { bounds }]) => [id, bounds]).sort());
});

test("sockets and links are found where they are painted", () => {
  const { document, made, load, sample } = scene();
  for (const item of made.items.values()) {
    for (const socket of socketsOf(item)) {
      const found = made.socketAt(socket.x, socket.y);
      assert.deepEqual([found.node, found.side, found.slot, found.widget], [socket.node, socket.side, socket.slot, socket.widget]);
    }
  }
  const link = connect(document, ROOT, { node: load, slot: 0 }, { node: sample, slot: 0 });
  const [x, y] = middleOf(made.wires.get(link).curves);
  assert.equal(made.wireAt(x, y, 6).link.id, link);
  assert.equal(made.wireAt(x, y + 400, 6), null);
});

test("a widget fed by a link says so, and its value is written where it belongs", () => {
  const { document, made, sample } = scene();
  setWidget(document, ROOT, sample, definitions.get("Sample"), "seed", 41);
  const widget = made.items.get(sample).face.widgets.find(({ name }) => name === "seed");
  assert.equal(widget.value, 41);
  assert.equal(widget.control, "randomize");
  assert.equal(widget.fed, false);
  assert.deepEqual(widget.write(document.root.node(sample), 7).widgets_values, [7, "randomize"]);
  const primitive = addNode(document, ROOT, "PrimitiveNode", null, { pos: [900, 300], outputs: [{ name: "x", type: "*" }], inputs: [] });
  connect(document, ROOT, { node: primitive, slot: 0 }, { node: sample, slot: { name: "seed", type: "INT" } });
  assert.equal(made.items.get(sample).face.widgets.find(({ name }) => name === "seed").fed, true);
  assert.equal(made.items.get(primitive).face.widgets[0].label, "seed", "a primitive shows what it feeds");
});

test("a node nobody knows keeps its values and shows them", () => {
  const { document } = readWorkflow({
    version: 0.4, links: [], nodes: [{ id: 3, type: "Gone", pos: [0, 0], size: [200, 80], inputs: [{ name: "a", type: "IMAGE", link: null }], outputs: [], widgets_values: [5, "x", true, { deep: 1 }] }],
  });
  const face = faceOf(document, document.root, document.root.node(3), definitions);
  assert.equal(face.kind, "ghost");
  assert.deepEqual(face.widgets.map(({ value }) => value), [5, "x", true, { deep: 1 }]);
  assert.deepEqual(face.widgets[1].write(document.root.node(3), "y").widgets_values, [5, "y", true, { deep: 1 }]);
});

test("names are found by their letters, starts of words first", () => {
  assert.equal(match("xyz", "KSampler"), null);
  assert.deepEqual(match("", "anything"), { score: 0, at: [] });
  const list = ["CLIPTextEncode", "CLIP Text Encode (Prompt)", "Latent Upscale", "Upscale Latent By", "KSampler", "KSampler (Advanced)", "Sampler Custom"];
  const best = (query) => rank(query, list, (each) => [each])[0]?.item;
  assert.equal(best("ksampler"), "KSampler");
  assert.equal(best("ks adv"), "KSampler (Advanced)");
  assert.equal(best("upscale"), "Upscale Latent By");
  assert.equal(best("latent up"), "Latent Upscale");
  assert.equal(best("cte"), "CLIP Text Encode (Prompt)");
  assert.equal(rank("nothing like it", list, (each) => [each]).length, 0);
  const { at } = match("upl", "Upscale Latent");
  assert.deepEqual(at.map((i) => "Upscale Latent"[i].toLowerCase()).join(""), "upl");
});

test("aligning puts sides in line; distributing makes the gaps even", () => {
  const boxed = (id, x, y, w, h) => ({ id, node: { pos: [x, y + 30] }, bounds: [x, y, x + w, y + h] });
  const items = [boxed(1, 0, 0, 100, 50), boxed(2, 130, 40, 60, 90), boxed(3, 500, 10, 80, 20)];
  assert.deepEqual([...align("left", items).values()].map(([x]) => x), [0, 0, 0]);
  assert.deepEqual(align("bottom", items).get(1), [0, 110]);
  const across = align("rows", items);
  const gaps = [across.get(2)[0] - 100, across.get(3)[0] - across.get(2)[0] - 60];
  assert.equal(gaps[0], gaps[1]);
  assert.equal(align("top", []).size, 0);
});

test("rarely needed widgets are folded away until asked for, or fed", () => {
  const info = new Definitions({ N: { input: { required: { a: ["INT", {}], b: ["FLOAT", { advanced: true }], c: ["INT", { advanced: true }], d: ["INT", { hidden: true }] } }, output: ["INT"] } });
  const document = new Document();
  const id = addNode(document, ROOT, "N", info.get("N"));
  const other = addNode(document, ROOT, "N", info.get("N"));
  const face = () => faceOf(document, document.root, document.root.node(id), info);
  const names = () => face().widgets.map(({ name }) => name);
  assert.deepEqual(names(), ["a"]);
  assert.deepEqual(face().more, { count: 2, open: false });
  const folded = layoutOf(document.root.node(id), face(), measure, false);
  assert.ok(folded.more.y >= folded.widgets[0].y + folded.widgets[0].height);
  connect(document, ROOT, { node: other, slot: 0 }, { node: id, slot: { name: "c", type: "INT" } });
  assert.deepEqual(names(), ["a", "c"], "what a link feeds is always shown");
  document.edit("unfold", (tx) => tx.put(ROOT, "nodes", { ...document.root.node(id), showAdvanced: true }));
  assert.deepEqual(names(), ["a", "b", "c"]);
});

test("a line drawn by hand: what lies within it, and what it crosses", () => {
  const line = [[0, 0], [10, 0], [10, 10], [5, 4], [0, 10]];
  assert.equal(within(line, 2, 3), true);
  assert.equal(within(line, 5, 8), false, "in the notch");
  assert.equal(within(line, 20, 3), false);
  assert.equal(cross([0, 0], [4, 4], [0, 4], [4, 0]), true);
  assert.equal(cross([0, 0], [1, 1], [0, 4], [4, 0]), false);
  assert.equal(cross([0, 0], [4, 0], [0, 1], [4, 1]), false);
});

test("the graph as SVG: everything painted, and what people wrote stays text", () => {
  const { document, made, load } = scene();
  document.edit("name", (tx) => tx.put(ROOT, "nodes", { ...document.root.node(load), title: '<script>alert("1")</script>\u0000' }));
  const brush = new SvgBrush({ font: "", measureText: (text) => ({ width: 7 * text.length }) });
  const camera = new Camera();
  Object.assign(camera, { width: 2000, height: 800, x: -50, y: -50 });
  const theme = { dark: true, ground: "#000", dots: "#111", node: "#222", head: "#333", edge: "#444", field: "#555", ink: "#fff", soft: "#ccc", accent: "#aaf", bad: "#f00", good: "#0f0", busy: "#ff0" };
  const none = new Set();
  paint(brush, 1, camera, made, { theme, selected: none, selectedGroups: none, mounted: () => false, run: () => IDLE, picture: () => null, hotWire: null, hiddenWires: none, moving: false, dims: null, links: "curved", grid: false });
  const text = brush.text(2000, 800);
  assert.ok(!text.includes("<script") && text.includes("&lt;script&gt;") && !text.includes("\u0000"));
  assert.ok(!text.includes("NaN") && !text.includes("undefined"));
  assert.equal((text.match(/<text /g) ?? []).length, (text.match(/<\/text>/g) ?? []).length);
  for (const word of ["MODEL", "CONDITIONING", "LATENT", "Sample"]) assert.ok(text.includes(`>${word}</text>`), word);
});
