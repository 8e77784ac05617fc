import assert from "node:assert/strict";
import { test } from "node:test";

import { Definitions, parseDefinition } from "../../web/core/definitions.js";
import { compatible, refusal } from "../../web/core/types.js";
import { readControl, readWidgets, withWidget } from "../../web/core/widgets.js";
import { absent, definitions, sharedJson } from "./graphs.mjs";

test("types that fit", () => {
  for (const [a, b] of [["IMAGE", "IMAGE"], ["*", "IMAGE"], ["IMAGE", ""], [0, "X"], ["INT,FLOAT", "float"], ["INT", "STRING, INT"], [["a"], ["a"]], [["a"], "COMBO"], ["MODEL", "IMAGE,*"]]) {
    assert.ok(compatible(a, b), `${a} ${b}`);
    assert.equal(refusal(a, b), null);
  }
  for (const [a, b] of [["IMAGE", "MASK"], ["INT", "FLOAT"], [["a"], ["b"]], ["INT,FLOAT", "STRING"], [["a"], "STRING"]]) {
    assert.equal(compatible(a, b), false, `${a} ${b}`);
    assert.match(refusal(a, b), /\.$/);
  }
});

test("both forms of a choice are one", () => {
  const parse = (spec) => parseDefinition("T", { input: { required: { a: spec } } }).inputs[0];
  for (const spec of [[["x", "y"], { default: "y" }], ["COMBO", { options: ["x", "y"], default: "y" }]]) {
    const { type, choices, widget, options } = parse(spec);
    assert.deepEqual([type, choices, widget, options.default], ["COMBO", ["x", "y"], true, "y"]);
  }
  assert.equal(parse(["STRING", { forceInput: true }]).widget, false);
  assert.equal(parse(["MYTYPE", { widgetType: "STRING" }]).widget, true);
  assert.equal(parse(["IMAGE"]).widget, false);
});

test("definitions that make no sense do no harm", () => {
  for (const raw of [null, 3, [], "x"]) assert.equal(parseDefinition("T", raw), null);
  const odd = parseDefinition("T", { input: { required: { a: null, b: ["INT", null], c: [] }, optional: 3 }, input_order: { required: ["b", "gone"] }, output: ["X"], display_name: null });
  assert.deepEqual(odd.inputs.map((input) => input.name), ["b", "a", "c"]);
  assert.equal(odd.title, "T");
  assert.equal(new Definitions({}).get("constructor"), null);
});

test("old names lead to the definition of today", () => {
  const known = new Definitions({ ControlNetLoader: { input: {}, output: ["CONTROL_NET"] } });
  assert.equal(known.get("T2IAdapterLoader").type, "ControlNetLoader");
});

test("positions of values", () => {
  const roles = (type) => definitions.get(type).layout.map((entry) => `${entry.name} ${entry.role}`);
  assert.deepEqual(roles("Sample"), ["seed value", "seed control", "steps value", "cfg value", "sampler_name value"]);
  assert.deepEqual(roles("Picture"), ["image value", "image upload"]);
  assert.deepEqual(roles("Forced"), ["number value"]);
  assert.deepEqual(roles("List"), ["values value", "seed value", "seed control"]);
  const filtered = parseDefinition("T", { input: { required: { a: [["x"], { control_after_generate: true }], seed: ["INT", { control_after_generate: false }] } } });
  assert.deepEqual(filtered.layout.map((entry) => entry.role), ["value", "control", "filter", "value"]);
});

test("values by name: defaults for missing ones, objects, names, old dummies", () => {
  const read = (type, node) => Object.fromEntries(readWidgets({ type, ...node }, definitions.get(type)));
  assert.deepEqual(read("Sample", { widgets_values: [4, "fixed", 30] }), { seed: 4, steps: 30, cfg: 8, sampler_name: "euler" });
  assert.deepEqual(read("Sample", { widgets_values: { cfg: 2, junk: 1 } }), { seed: 0, steps: 20, cfg: 2, sampler_name: "euler" });
  assert.deepEqual(read("Sample", { widgets_values: [1], widgets_values_named: { seed: 9 } }).seed, 9);
  assert.deepEqual(read("Sample", {}), { seed: 0, steps: 20, cfg: 8, sampler_name: "euler" });
  assert.equal(read("Sample", { widgets_values: [1, "fixed", 2, 3, "sample_ddim"] }).sampler_name, "ddim");
  assert.deepEqual(read("Forced", { widgets_values: ["dummy", 5, 0, "fixed"] }), { number: 5 });
  assert.deepEqual(read("Forced", { widgets_values: [5] }), { number: 5 });
  assert.equal(readControl({ widgets_values: [1, false] }, definitions.get("Sample"), "seed"), "fixed");
  assert.equal(readControl({ widgets_values: [1, true] }, definitions.get("Sample"), "seed"), "randomize");
  assert.equal(readControl({}, definitions.get("Sample"), "cfg"), null);
});

test("writing a value keeps the others, known or not", () => {
  const definition = definitions.get("Sample");
  assert.deepEqual(withWidget({ widgets_values: [1, "fixed", 2, 3, "ddim", "extra"] }, definition, "cfg", 5).widgets_values, [1, "fixed", 2, 5, "ddim", "extra"]);
  assert.deepEqual(withWidget({}, definition, "steps", 5).widgets_values, [0, "randomize", 5]);
  assert.deepEqual(withWidget({ widgets_values: { cfg: 1, junk: 2 } }, definition, "cfg", 5).widgets_values, { cfg: 5, junk: 2 });
  assert.deepEqual(withWidget({ widgets_values: [1], widgets_values_named: { seed: 1 } }, definition, "seed", 7).widgets_values_named, { seed: 7 });
  assert.deepEqual(withWidget({ widgets_values: [1, "fixed"] }, definition, "seed", "increment", "control").widgets_values, [1, "increment"]);
  assert.throws(() => withWidget({}, definition, "model", 1), /no widget named model/);
});

test("every definition of the reference server is read", { skip: absent }, () => {
  const all = new Definitions(sharedJson("object_info.json"));
  for (const type of all.types) {
    const { inputs, layout } = all.get(type);
    const values = layout.filter((entry) => entry.role === "value");
    assert.equal(values.length, inputs.filter((input) => input.widget).length);
    for (const input of inputs) if (input.type === "COMBO") assert.ok(Array.isArray(input.choices), `${type}.${input.name}`);
  }
});
