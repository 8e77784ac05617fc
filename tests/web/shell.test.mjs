// The pure parts of the page's shell: matching, keys, seeds, missing files, sentences, words.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { Definitions } from "../../web/core/definitions.js";
import { parseJson } from "../../web/files/json.js";
import { findMissing, nearest } from "../../web/files/missing.js";
import { moveNodes, removeNodes, setProperty, setWidget } from "../../web/core/commands/nodes.js";
import { differences } from "../../web/files/difference.js";
import { allFields, allOutputs, fields, showsOutput, toggle, toggleOutput } from "../../web/form/model.js";
import { fromPrompt } from "../../web/format/from_prompt.js";
import { caption, tookSeconds } from "../../web/run/queue.js";
import { advance, next } from "../../web/run/seeds.js";
import { ofFailure, ofNodeErrors, ofRefusal } from "../../web/run/sentences.js";
import { RunState } from "../../web/run/state.js";
import { Actions, keyName } from "../../web/shell/actions.js";
import { ROLES, contrast, readPalette, readPalettes, weakPairs } from "../../web/shell/colour_palettes.js";
import { PRESETS } from "../../web/shell/key_presets.js";
import { fits, ranked } from "../../web/shell/match.js";
import { Settings } from "../../web/shell/settings.js";

const WEB = fileURLToPath(new URL("../../web/", import.meta.url));
const info = {
  Load: { input: { required: { ckpt_name: [["a-v1.safetensors", "b.safetensors"], {}] } }, output: ["MODEL", "CLIP"], output_node: false },
  Words: { input: { required: { text: ["STRING", { multiline: true }], clip: ["CLIP"] } }, output: ["CONDITIONING"] },
  Sample: { input: { required: { model: ["MODEL"], positive: ["CONDITIONING"], seed: ["INT", { default: 0, min: 0, max: 100 }], steps: ["INT", { default: 20 }] } }, output: ["LATENT"] },
};
const prompt = {
  1: { class_type: "Load", inputs: { ckpt_name: "a-v2.safetensors" } },
  2: { class_type: "Words", inputs: { text: "a red house", clip: ["1", 1] } },
  3: { class_type: "Sample", inputs: { model: ["1", 0], positive: ["2", 0], seed: 5, steps: 3 } },
  4: { class_type: "Unheard", inputs: { strength: 1 } },
};
const definitions = new Definitions(info);
const open = () => fromPrompt(prompt, definitions).document;
const key = (pressed, more = {}) => keyName({ key: pressed, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...more });

test("what is typed fits in order, better at the start of words", () => {
  assert.equal(fits("xyz", "Run"), 0);
  assert.ok(fits("fw", "Form view") > fits("fw", "Affew"));
  assert.deepEqual(ranked("save as", ["Save", "Save as", "Close"], (each) => each), ["Save as"]);
  assert.deepEqual(ranked(" ", ["b", "a"], (each) => each), ["b", "a"]);
});

test("keys have names, ctrl stands for the command key, shift is said once", () => {
  assert.equal(key("Z", { ctrlKey: true, shiftKey: true }), "ctrl+shift+z");
  assert.equal(key("z", { metaKey: true }), "ctrl+z");
  assert.equal(key("?", { shiftKey: true }), "?");
  assert.equal(key("!", { shiftKey: true, code: "Digit1" }), "shift+1");
  assert.equal(key(" "), "space");
  assert.equal(key("Shift", { shiftKey: true }), "");
});

test("an action runs when it can, by the key that was chosen for it", () => {
  const rebound = {};
  const actions = new Actions(() => rebound);
  const done = [];
  actions.add({ id: "a", title: "A", keys: ["x"], when: (session) => session.on, run: () => done.push("a") }, { id: "b", title: "B", run: async () => { throw new Error("no"); } });
  assert.equal(actions.run("a"), false, "no workflow is open");
  const session = { on: false };
  actions.current = () => session;
  assert.equal(actions.run("a"), false);
  session.on = true;
  assert.equal(actions.run("a"), true);
  assert.equal(actions.withKey("x").id, "a");
  rebound.a = ["y"];
  actions.keysChanged();
  assert.equal(actions.withKey("x"), null);
  assert.equal(actions.withKey("y").id, "a");
  assert.deepEqual(done, ["a"]);
  return new Promise((resolve) => {
    actions.onError = (error) => resolve(assert.equal(error.message, "no"));
    actions.run("b");
  });
});

test("settings are kept here and there, and local ones only here", async () => {
  const saved = [];
  const storage = new Map();
  const settings = new Settings(
    { load: async () => ({ "Emulsion.theme": "light", "Comfy.x": 1 }), save: async (name, value) => saved.push([name, value]) },
    { getItem: (name) => storage.get(name) ?? null, setItem: (name, value) => storage.set(name, value) },
  );
  settings.register({ key: "theme", title: "", kind: "text", default: "dark" }, { key: "open", title: "", kind: "hidden", local: true, default: false });
  const heard = [];
  settings.subscribe("theme", (value) => heard.push(value));
  assert.equal(settings.get("theme"), "dark");
  await settings.load();
  settings.set("open", true);
  settings.set("theme", "blue");
  settings.set("theme", "blue");
  assert.deepEqual(heard, ["light", "blue"]);
  assert.deepEqual(saved, [["Emulsion.theme", "blue"], ["Emulsion.theme", "blue"]]);
  assert.equal(new Settings(null, { getItem: (name) => storage.get(name) ?? null, setItem() {} }).get("open"), true);
});

test("sets of keys name actions there are, and no key twice", () => {
  const code = ["shell/commands.js", "shell/panels.js", "canvas/actions.js"].map((path) => readFileSync(join(WEB, path), "utf8")).join();
  for (const { keys } of PRESETS) {
    for (const id of Object.keys(keys)) assert.ok(code.includes(`id: "${id.replace("panel.", "")}"`), id);
    const all = Object.values(keys).flat();
    assert.equal(new Set(all).size, all.length);
  }
});

test("palettes come from files with care, and colours too much alike are named", () => {
  assert.deepEqual(readPalette({ name: " Sea ", colors: { "--ground": "#012", ink: "#FFFFFF", accent: "red;}", unheard: "#000000" } }), {
    name: "Sea", base: "dark", colors: { ground: "#001122", ink: "#ffffff" }, ignored: ["accent", "unheard"],
  });
  const foreign = readPalette({ name: "Paper", light_theme: true, colors: { comfy_base: { "input-text": "#111111", "comfy-menu-bg": "#ffffff" }, litegraph_base: { NODE_DEFAULT_BGCOLOR: "#eee" } } });
  assert.deepEqual([foreign.base, foreign.colors], ["light", { panel: "#ffffff", ink: "#111111", node: "#eeeeee" }]);
  for (const bad of [null, 3, {}, { colors: [] }, { colors: { ground: "url(x)" } }]) assert.throws(() => readPalette(bad), TypeError);
  assert.deepEqual(readPalettes([{ colors: {} }, null, { name: "b", colors: { ink: "#000000" } }]).map(({ name }) => name), ["Palette", "b"]);
  assert.equal(contrast("#000000", "#ffffff"), 21);
  const css = readFileSync(join(WEB, "shell/themes.css"), "utf8");
  const dark = {};
  for (const block of css.split("}").slice(0, 3)) {
    const colors = Object.assign({ ...dark }, Object.fromEntries([...block.matchAll(/--([\w-]+): (#[\da-f]{6})/g)].map(([, role, colour]) => [role, colour])));
    if (!Object.keys(dark).length) Object.assign(dark, colors);
    assert.deepEqual(Object.keys(ROLES).filter((role) => !colors[role]), []);
    assert.deepEqual(weakPairs(colors), [], block.slice(0, 60));
  }
  assert.deepEqual(weakPairs({ ...dark, ink: dark.panel })[0].front, "ink");
});

test("after a run seeds go on as their control says, as one step", () => {
  assert.equal(next("increment", 100, { options: { max: 100 }, choices: null }, Math.random), 100);
  assert.equal(next("decrement", 3, { options: {}, choices: null }, Math.random), 2);
  assert.equal(next("fixed", 3, { options: {}, choices: null }, Math.random), undefined);
  assert.equal(next("increment-wrap", "b", { options: {}, choices: ["a", "b"] }, Math.random), "a");
  const document = open();
  document.markSaved();
  advance(document, definitions, () => 0.5);
  advance(document, definitions, () => 0.25);
  assert.equal(document.root.node(3).widgets_values[0], 25);
  document.undo();
  assert.equal(document.root.node(3).widgets_values[0], 5);
});

test("missing files come with near matches, missing nodes with their number", () => {
  const { types, files } = findMissing({ document: open(), definitions });
  assert.deepEqual(types.map(({ type, nodes }) => [type, nodes.length]), [["Unheard", 1]]);
  assert.deepEqual(files.map(({ name, near }) => [name, near]), [["a-v2.safetensors", ["a-v1.safetensors"]]]);
  const pack = (aux_id) => {
    const document = open();
    setProperty(document, "root", 4, "aux_id", aux_id);
    return findMissing({ document, definitions }).types[0];
  };
  assert.equal(pack("someone/their-nodes").source, "https://github.com/someone/their-nodes");
  for (const bad of ["javascript:x", "a/b/../c", "a/b?c", 3]) assert.equal(pack(bad).source, "");
  assert.deepEqual(nearest("SDXL/juggernaut_XL.safetensors", ["juggernautXL_v9.safetensors", "other.ckpt", 3]), ["juggernautXL_v9.safetensors"]);
});

test("the form shows what people set, or what was chosen", () => {
  const document = open();
  assert.deepEqual(fields(document, definitions).map(({ name }) => name), ["text", "ckpt_name", "seed", "steps"]);
  const steps = allFields(document, definitions).find(({ name }) => name === "steps");
  toggle(document, definitions, steps);
  assert.deepEqual(fields(document, definitions).map(({ name }) => name), ["text", "ckpt_name", "seed"]);
  assert.deepEqual(document.root.record.extra.linearData.inputs.map(([, name]) => name), ["text", "ckpt_name", "seed"]);
  document.undo();
  assert.equal(fields(document, definitions).length, 4);
});

test("an instance shows what goes on inside", async () => {
  const runs = new RunState();
  const heard = [];
  runs.subscribe((ids) => heard.push([...ids].sort()));
  runs.start(["7:1", "7:2", "3"]);
  assert.equal(runs.of(7).status, "queued");
  runs.set("7:1", { status: "running" });
  assert.equal(runs.of("7").status, "running");
  runs.set("7:1", { status: "done" });
  assert.deepEqual(runs.of("7").progress, [1, 2]);
  runs.set("7:2", { status: "error", error: { message: "m", hint: "h" } });
  assert.equal(runs.of("7").status, "error");
  assert.equal(runs.of("7").error.message, "m");
  runs.end();
  assert.equal(runs.of("3").status, "idle");
  await null;
  assert.deepEqual(heard, [["3", "7", "7:1", "7:2"]], "told once");
});

test("what the server says becomes problems with a node and a hint", () => {
  const errors = { 3: { errors: [{ message: "Value too small", details: "steps 0", extra_info: { input_name: "steps", hint: "Use 1." } }] } };
  assert.deepEqual(ofNodeErrors(errors, prompt), [{ title: "Sample", message: "Value too small. steps 0", hint: "Use 1.", node: "3", input: "steps" }]);
  assert.equal(ofRefusal({ message: "No outputs", error: { details: "none" }, nodeErrors: {} }, prompt)[0].hint, "none.");
  const failed = ofFailure({ node_id: "3", exception_message: "No memory\nUse less.\n", traceback: ["line"] }, prompt);
  assert.deepEqual([failed.message, failed.hint, failed.node], ["No memory.", "Use less.", "3"]);
});

test("a job is called by its prompt and took the time between its first and last word", () => {
  assert.equal(caption(prompt), "a red house");
  assert.equal(caption({}), "");
  assert.equal(tookSeconds({ messages: [["a", { timestamp: 1000 }], ["b", { timestamp: 3500 }]] }), 2.5);
});

test("files of other programs may say NaN, and what is no JSON is said so", () => {
  assert.deepEqual(parseJson('\ufeff{"a": NaN, "b": "NaN", "c": [-Infinity]}'), { a: null, b: "NaN", c: [null] });
  assert.throws(() => parseJson("{"), /not JSON/);
});

test("two states of a workflow are told apart in words", () => {
  const before = open();
  const after = open();
  assert.deepEqual(differences(before, after, definitions), []);
  const [load, words] = [...after.root.nodes.values()];
  setWidget(after, "root", words.id, definitions.get("Words"), "text", "a blue house");
  moveNodes(after, "root", [load.id], 50, 0);
  removeNodes(after, "root", [[...after.root.nodes.values()].find(({ type }) => type === "Sample").id]);
  const said = differences(before, after, definitions);
  assert.ok(said.includes("Words #2 · text: a red house → a blue house"), said.join("\n"));
  assert.ok(said.some((each) => /Sample #\d+ is gone/.test(each)));
  assert.ok(said.some((each) => each.startsWith("No longer linked: ") && each.includes("Sample")));
  assert.equal(said.at(-1), "1 nodes lie elsewhere or have another size.");
});

test("the form shows the results that were chosen", () => {
  const document = open();
  const known = new Definitions({ ...info, Sample: { ...info.Sample, output_node: true } });
  const [{ id }] = allOutputs(document, known);
  assert.ok(showsOutput(document, String(id)));
  toggleOutput(document, known, id);
  assert.ok(fields(document, known).length > 0, "the inputs stay as they are");
  toggleOutput(document, known, id);
  assert.ok(showsOutput(document, String(id)));
});

test("every word of the page has its German", () => {
  const german = JSON.parse(readFileSync(join(WEB, "i18n/de.json"), "utf8"));
  const missing = new Set();
  for (const place of ["main.js", "shell", "run", "files", "form", "canvas", "widgets"]) {
    const paths = place.endsWith(".js") ? [place] : readdirSync(join(WEB, place)).filter((name) => name.endsWith(".js")).map((name) => join(place, name));
    for (const path of paths) {
      const code = readFileSync(join(WEB, path), "utf8");
      for (const found of code.matchAll(/\b(?:t\(\s*|title: |group: |tooltip: |(?:button|tool)\("[a-z]+", )"((?:[^"\\]|\\.)*)"/g)) {
        const words = JSON.parse(`"${found[1]}"`);
        if (words && !words.startsWith("#") && !(words in german)) missing.add(words);
      }
    }
  }
  assert.deepEqual([...missing], []);
  for (const [english, said] of Object.entries(german)) {
    const names = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
    assert.deepEqual(names(said), names(english), english);
  }
});
