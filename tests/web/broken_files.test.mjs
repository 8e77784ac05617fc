// Files with nonsense in any place: they open, are drawn, run as far as they make sense, and can be saved. Nothing throws.
import assert from "node:assert/strict";
import { test } from "node:test";

import "../../web/widgets/index.js";
import { Camera } from "../../web/canvas/camera.js";
import { paint } from "../../web/canvas/paint.js";
import { Scene, socketsOf } from "../../web/canvas/scene.js";
import { fromPrompt } from "../../web/format/from_prompt.js";
import { toPrompt } from "../../web/format/prompt.js";
import { BadWorkflow, kindOf, readWorkflow, writeWorkflow } from "../../web/format/workflow.js";
import { IDLE } from "../../web/run/state.js";
import { sizeOf } from "../../web/widgets/registry.js";
import { definitions, seeded, textToImage, withSubgraph } from "./graphs.mjs";

const NONSENSE = [null, true, -1, 0, 1e300, 0.5, "", "x", "__proto__", [], [1, 2, 3], {}, { 0: "a" }, [[[]]], [null], { name: 5, type: [] }, "1".repeat(3000)];
const brush = new Proxy({}, { get: (_, key) => (key === "measureText" ? (text) => ({ width: 7 * String(text).length }) : () => undefined), set: () => true });
const LOOK = {
  theme: { dark: true }, selected: new Set(), selectedGroups: new Set(), mounted: () => false, run: () => IDLE, picture: () => null, hotWire: null,
  hiddenWires: new Set(), moving: false, dims: null, links: "curved", grid: true,
};

/** Every place in a value, as the object and the key. */
function places(value, found = []) {
  if (typeof value !== "object" || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push([value, key]);
    places(value[key], found);
  }
  return found;
}

function show(document) {
  for (const name of ["root", ...document.definitions]) {
    const scene = new Scene(document, name, () => definitions, sizeOf, () => false);
    const camera = new Camera();
    Object.assign(camera, { width: 800, height: 600 });
    const extent = scene.extent();
    if (extent) assert.ok(extent.every(Number.isFinite), "there is a place to look at");
    for (const item of scene.items.values()) {
      assert.equal(typeof item.face.title, "string");
      socketsOf(item);
    }
    for (const scale of [0.1, 1]) {
      camera.scale = scale;
      if (extent) camera.centre(extent);
      paint(brush, 1, camera, scene, LOOK);
    }
  }
}

function withNonsense(random, whole, name) {
  const file = structuredClone(whole);
  const changes = 1 + Math.floor(random() * 3);
  const said = [];
  for (let i = 0; i < changes; i++) {
    const all = places(file);
    const [object, key] = all[Math.floor(random() * all.length)];
    const value = structuredClone(NONSENSE[Math.floor(random() * NONSENSE.length)]);
    said.push(`${key} = ${JSON.stringify(value)?.slice(0, 40)}`);
    if (random() < 0.15) delete object[key];
    else object[key] = value;
  }
  return { file, said: `${name}: ${said.join(", ")}` };
}

for (const [name, make] of Object.entries({ flat: () => writeWorkflow(textToImage()), nested: withSubgraph })) {
  test(`nonsense in a ${name} file`, () => {
    const random = seeded(name.length);
    const whole = JSON.parse(JSON.stringify(make()));
    whole.groups = [{ id: 1, title: "G", bounding: [0, 0, 400, 300], color: "#3f789e" }];
    whole.extra = { ...whole.extra, reroutes: [{ id: 1, pos: [10, 20] }] };
    for (let i = 0; i < 500; i++) {
      const { file, said } = withNonsense(random, whole, i);
      let opened;
      try {
        opened = readWorkflow(JSON.parse(JSON.stringify(file)));
      } catch (error) {
        assert.ok(error instanceof BadWorkflow, `${said}: ${error.stack}`);
        continue;
      }
      try {
        show(opened.document);
        toPrompt(opened.document, definitions);
        readWorkflow(JSON.parse(JSON.stringify(writeWorkflow(opened.document))));
      } catch (error) {
        assert.fail(`${said}\n${error.stack}`);
      }
    }
  });
}

test("nonsense in a graph in API form", () => {
  const random = seeded(9);
  const { prompt } = toPrompt(textToImage(), definitions);
  for (let i = 0; i < 500; i++) {
    const { file, said } = withNonsense(random, JSON.parse(JSON.stringify(prompt)), i);
    if (kindOf(file) !== "prompt") continue;
    try {
      const { document } = fromPrompt(file, definitions);
      show(document);
      toPrompt(document, definitions);
    } catch (error) {
      assert.fail(`${said}\n${error.stack}`);
    }
  }
});
