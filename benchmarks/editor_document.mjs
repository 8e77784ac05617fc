// The document of the editor at 2,000 nodes: opening, editing, dragging, undoing. `node benchmarks/editor_document.mjs` prints rows of
// docs/performance.md; `--check` also fails where a goal is missed.
import { connect } from "../web/core/commands/links.js";
import { moveNodes, removeNodes, setValueAt } from "../web/core/commands/nodes.js";
import { readWorkflow, writeWorkflow } from "../web/format/workflow.js";

const NODES = 2000;
const ROUNDS = 500;

/** A file of 2,000 nodes with 3 inputs, 2 outputs, 4 values and 1.5 links each. */
function file() {
  const links = [];
  const nodes = Array.from({ length: NODES }, (_, i) => ({
    id: i + 1, type: `Type${i % 40}`, pos: [(i % 50) * 320, Math.floor(i / 50) * 260], size: [300, 220], flags: {}, order: i, mode: 0,
    inputs: ["a", "b", "c"].map((name) => ({ name, type: "IMAGE", link: null })),
    outputs: ["x", "y"].map((name) => ({ name, type: "IMAGE", links: [] })),
    properties: { "Node name for S&R": `Type${i % 40}` }, widgets_values: [i, 0.5, "euler", "a long text ".repeat(8)],
  }));
  for (let k = 0; k < NODES * 1.5; k++) {
    const to = nodes[1 + ((k * 7919) % (NODES - 1))];
    const slot = Math.floor((k * 3) / (NODES * 1.5));
    const from = nodes[(to.id - 2 + NODES) % NODES];
    if (to.inputs[slot].link !== null) continue;
    links.push([k + 1, from.id, k % 2, to.id, slot, "IMAGE"]);
    to.inputs[slot].link = k + 1;
    from.outputs[k % 2].links.push(k + 1);
  }
  return { version: 0.4, last_node_id: NODES, last_link_id: links.length * 2, nodes, links, groups: [], config: {}, extra: {} };
}

/** Median and 95th percentile of the milliseconds an action takes; `prepare` is not counted. */
function measure(action, rounds = ROUNDS, prepare = () => undefined) {
  const times = [];
  for (let i = 0; i < rounds; i++) {
    prepare(i);
    const start = performance.now();
    action(i);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { median: times[times.length >> 1], p95: times[Math.floor(times.length * 0.95)] };
}

const text = JSON.stringify(file());
let document;
const open = measure(() => { ({ document } = readWorkflow(JSON.parse(text))); }, 10);
const save = measure(() => JSON.stringify(writeWorkflow(document)), 10);
const heard = [];
document.subscribe((change) => heard.push(change.patches.length));
const fifty = Array.from({ length: 50 }, (_, i) => 1 + i * 37);
const rows = [
  ["open a file (parse included)", open, 300],
  ["save (to text)", save, null],
  ["change a value", measure((i) => setValueAt(document, "root", 1 + (i % NODES), 0, -i)), 0.05],
  ["undo it", measure(() => document.undo()), 0.1],
  ["redo it", measure(() => document.redo()), 0.1],
  ["type a letter (joined to the step)", measure((i) => setValueAt(document, "root", 7, 3, `text ${i}`, { merge: "text" })), 0.05],
  ["drag 1 node, a frame", measure(() => moveNodes(document, "root", [9], 1, 1, { merge: "drag 1" })), 0.05],
  ["drag 50 nodes, a frame", measure(() => moveNodes(document, "root", fifty, 1, 1, { merge: "drag" })), null],
  ["undo the drag of 50", measure(() => document.undo(), 100, () => { document.redo(); }), 0.1],
  ["connect", measure((i) => connect(document, "root", { node: 1 + i, slot: 0 }, { node: NODES - i, slot: 2 })), null],
  ["delete a node with its links", measure((i) => removeNodes(document, "root", [NODES - 600 - i])), null],
  ["undo that", measure(() => document.undo()), 0.1],
];
let missed = 0;
for (const [what, { median, p95 }, goal] of rows) {
  const met = goal === null || median <= goal;
  if (!met) missed++;
  console.log(`| ${what} | ${median.toPrecision(2)} ms (95 %: ${p95.toPrecision(2)}) | ${goal === null ? "" : `≤ ${goal} ms${met ? "" : ", missed"}`} |`);
}
if (!heard.length) throw new Error("The document told nobody of its changes.");
if (process.argv.includes("--check") && missed) process.exitCode = 1;
