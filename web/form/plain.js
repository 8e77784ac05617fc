// The page: wires the server's events to the parts, and holds the one thing that changes, the graph.
import { newId, Refused, Server } from "../core/api.js";
import { caption, get, handles, isGraph, set, title } from "../core/graph.js";
import { format, parse, text } from "../core/json.js";
import { ofFailure, ofNodeErrors, ofRefusal } from "../core/sentences.js";
import { byId, make } from "../ui/dom.js";
import { drawForm, randomSeed } from "../ui/form.js";
import { Jobs } from "../ui/jobs.js";
import { Progress } from "../ui/progress.js";
import { Stage } from "../ui/stage.js";
import { themed } from "../ui/theme.js";

const server = new Server();
const stage = new Stage(server);
const jobs = new Jobs(server, (graph) => { use(graph); stage.say([]); });
const progress = new Progress(byId("progress"), byId("progress-label"));
const running = new Map(); // job id -> the graph it was sent with
const accepted = new Set(); // those the server has said yes to
let graph = {};
let info = {};
let shown = null; // the job whose progress is on the stage

function use(next, redraw = true) {
  graph = next;
  if (redraw) drawForm(byId("fields"), graph, info, (place, value) => use(set(graph, place, value), false));
  byId("json").value = format(graph);
  readable("");
  localStorage.setItem("graph", format(graph));
}

function readable(problem) {
  byId("json-problem").textContent = problem;
  byId("json").setAttribute("aria-invalid", String(Boolean(problem)));
  byId("run").disabled = Boolean(problem);
}

/** Take a graph from text somebody wrote; says what is wrong with it instead of throwing. */
function read(written) {
  let value;
  try { value = parse(written); } catch (error) { return readable(`This is not JSON: ${error.message}`); }
  if (isGraph(value?.prompt)) value = value.prompt;
  if (Array.isArray(value?.nodes)) return readable("This is an editor workflow. Here the API format is needed: export it with \"Export (API)\".");
  if (!isGraph(value)) return readable("Every entry needs a class_type: this is not a graph in API format.");
  graph = value;
  drawForm(byId("fields"), graph, info, (place, changed) => use(set(graph, place, changed), false));
  localStorage.setItem("graph", written);
  readable("");
}

async function run(event) {
  event.preventDefault();
  stage.say([]);
  const sent = graph;
  const id = newId(); // ours from the start: events may arrive before the answer
  running.set(id, sent);
  if (shown === null) progress.end("Waiting in the queue");
  try {
    const answer = await server.post("prompt", { prompt: sent, client_id: server.clientId, prompt_id: id });
    if (running.has(id)) accepted.add(id);
    stage.say(ofNodeErrors(answer.node_errors, sent, info));
    byId("cancel").disabled = running.size === 0;
    const { seed } = handles(graph);
    if (seed && byId("reseed").checked) {
      use(set(graph, seed, randomSeed()), false);
      byId("form").elements.seed.value = text(get(graph, seed));
    }
  } catch (error) {
    finished(id, "Not accepted");
    stage.say(error instanceof Refused ? ofRefusal(error, sent, info) : ["The server does not answer. Is it running?"]);
  }
  jobs.refresh();
}

async function cancel() {
  const [id] = shown !== null ? [shown] : running.keys();
  if (id === undefined) return;
  await server.post("queue", { delete: [id] });
  await server.post("interrupt", { prompt_id: id });
  if (shown === null) finished(id, "Removed from the queue");
  jobs.refresh();
}

function finished(id, words) {
  running.delete(id);
  accepted.delete(id);
  byId("cancel").disabled = running.size === 0;
  if (shown !== null && shown !== id) return;
  shown = null;
  progress.end(words, words === "Done");
  byId("announce").textContent = words;
  document.title = "Emulsion";
}

const ours = (data) => running.get(data.prompt_id);
const listen = (type, act) => server.addEventListener(type, ({ detail }) => act(detail ?? {}));

listen("connection", (state) => {
  byId("connection").textContent = state === "open" ? "Connected" : "Connection lost, trying again …";
  if (state === "open") resume();
});
listen("status", () => jobs.refresh());
listen("execution_start", (data) => {
  if (!ours(data)) return;
  shown = data.prompt_id;
  progress.start(Object.keys(ours(data)).length, "Starting");
});
listen("execution_cached", (data) => { if (data.prompt_id === shown) progress.finish(data.nodes); });
listen("executing", (data) => {
  if (data.node === null) return data.prompt_id && ours(data) ? outcome(data.prompt_id) : undefined;
  if (data.prompt_id === shown && shown) progress.part(data.node, 0, 1, `${title(ours(data), data.display_node ?? data.node, info)} …`);
});
listen("progress_state", (data) => {
  if (data.prompt_id === shown) progress.finish(Object.values(data.nodes).filter((n) => n.state === "finished").map((n) => n.node_id));
});
listen("progress", (data) => {
  if (data.prompt_id !== shown) return;
  progress.part(data.node, data.value, data.max, `${title(ours(data), data.node, info)}: step ${data.value} of ${data.max}`);
  document.title = `${Math.round((100 * data.value) / data.max)} % · Emulsion`;
});
listen("preview", ({ blob, job }) => { if (shown && (job === null || job === shown)) stage.preview(blob); });
listen("executed", (data) => { if (ours(data)) stage.show(data.output?.images ?? [], caption(ours(data))); });
listen("execution_error", (data) => { if (ours(data)) stage.say([ofFailure(data, ours(data), info)]); });

/** A job of ours ended: the history holds how, also when its events were missed. */
async function outcome(id) {
  const entry = (await server.get(`history/${encodeURIComponent(id)}`))[id];
  const sent = running.get(id);
  if (!sent) return;
  for (const output of Object.values(entry?.outputs ?? {})) if (output?.images) stage.show(output.images, caption(sent));
  const [type, data] = entry?.status?.messages?.at(-1) ?? [];
  if (type === "execution_error") stage.say([ofFailure(data, sent, info)]);
  finished(id, type === "execution_success" ? "Done" : type === "execution_interrupted" ? "Cancelled" : entry ? "Failed" : "Gone from the queue");
  jobs.refresh();
}

/** After a connection was made: find our jobs again, and settle those that ended meanwhile. */
async function resume() {
  const queue = await server.get("queue");
  const waiting = new Set();
  for (const [, id, prompt, extra] of [...queue.queue_running, ...queue.queue_pending]) {
    waiting.add(id);
    if (extra?.client_id === server.clientId) { running.set(id, prompt); accepted.add(id); }
  }
  const active = queue.queue_running.find(([, id]) => running.has(id));
  if (active && shown !== active[1]) { shown = active[1]; progress.start(Object.keys(active[2]).length, "Running"); }
  byId("cancel").disabled = running.size === 0;
  await Promise.all([...accepted].filter((id) => !waiting.has(id)).map(outcome));
  jobs.refresh();
}

/** What the worker can run. While it is still starting the server says 503: ask again. */
async function nodeTypes() {
  for (;;) {
    try { return await server.get("object_info"); } catch (error) {
      if (!(error instanceof Refused) || error.status !== 503) throw error;
    }
    await new Promise((done) => setTimeout(done, 500));
  }
}

async function start() {
  themed(byId("theme"));
  byId("form").addEventListener("submit", run);
  byId("cancel").addEventListener("click", cancel);
  byId("json").addEventListener("input", () => read(byId("json").value));
  byId("reset").addEventListener("click", async () => use(await server.get("default_graph.json")));
  byId("open").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    if (!file) return;
    byId("json").value = await file.text();
    read(byId("json").value);
    target.value = "";
  });
  byId("download").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([byId("json").value], { type: "application/json" }));
    make("a", { href: url, download: "graph.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  const kept = localStorage.getItem("graph");
  use(await server.get("default_graph.json"));
  if (kept) { byId("json").value = kept; read(kept); }
  server.connect();
  info = await nodeTypes();
  if (byId("json-problem").textContent === "") drawForm(byId("fields"), graph, info, (place, value) => use(set(graph, place, value), false));
}

start().catch((error) => stage.say([`The page could not start: ${error.message}`]));
