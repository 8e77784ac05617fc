// Runs of all open workflows: sends them, follows them through the server's events, and tells each workflow what its nodes do.

import { ownerOf } from "../format/frozen.js";
import { toPrompt } from "../format/prompt.js";
import { writeWorkflow } from "../format/workflow.js";
import { Refused, newId } from "./api.js";
import { outputsOf } from "./outputs.js";
import { advance } from "./seeds.js";
import { ofFailure, ofNodeErrors, ofRefusal, titleIn } from "./sentences.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./sentences.js").Problem} Problem */
/** @typedef {import("../format/prompt.js").Prompt} Prompt */
/** @typedef {"waiting" | "running" | "done" | "failed" | "cancelled" | "gone"} JobState */
/**
 * @typedef {object} Job
 * @property {string} id
 * @property {string} document  which workflow it is of
 * @property {Prompt} prompt
 * @property {JobState} state
 * @property {boolean} accepted  the server has said yes
 * @property {Set<string>} finished  nodes
 * @property {string | null} node  the one that runs
 * @property {readonly [number, number] | null} step
 * @property {{at: number, value: number} | null} pace  when the running node told its first step, and which
 * @property {import("./state.js").Output[]} outputs
 * @property {string | null} preview
 */
/** @typedef {{document: string, session: Session, problems: Problem[]}} Open  a workflow that is open, and what is wrong with it */
/** @typedef {{front?: boolean, count?: number, targets?: string[], number?: number}} RunOptions */

/** Events: `jobs` when any job changed, `problems` {document}, `ended` {job}. */
export class RunCentre extends EventTarget {
  /** @type {Map<string, Job>} */
  jobs = new Map();
  /** @type {Map<string, Open>} */
  #open = new Map();
  /** @type {Job | null} */
  running = null;
  #api;
  /** How often a socket was opened. */
  #sockets = 0;

  /** @param {Api} api */
  constructor(api) {
    super();
    this.#api = api;
    /**
     * The graph as it is sent and kept; `sent` is called once the server has it. Scripts of node packs put another in its place.
     * @type {(session: Session) => Promise<{prompt: Prompt, workflow: unknown, problems: {message: string, node?: string | number}[], sent?: () => void}>}
     */
    this.compose = async ({ document, definitions }) => ({ ...toPrompt(document, definitions), workflow: writeWorkflow(document, definitions) });
    /** @type {(body: any) => Promise<any>} */
    this.send = (body) => api.post("prompt", body);
    /** @type {(type: string, act: (data: any) => void) => void} */
    const listen = (type, act) => api.addEventListener(type, (event) => act(/** @type {CustomEvent} */ (event).detail ?? {}));
    listen("connection", (state) => {
      if (state !== "open") return;
      this.#sockets++;
      this.#resume().catch(() => {});
    });
    listen("execution_start", (data) => this.#started(data.prompt_id));
    listen("execution_cached", (data) => this.#with(data, (job) => this.#end(job, data.nodes, "cached")));
    listen("executing", (data) => (data.node === null ? data.prompt_id && this.#over(data.prompt_id) : this.#with(data, (job) => this.#executing(job, data))));
    listen("progress_state", (data) => this.#with(data, (job) => this.#states(job, data.nodes)));
    listen("progress", (data) => this.#with(data, (job) => this.#progress(job, data)));
    listen("executed", (data) => this.#with(data, (job) => this.#executed(job, data)));
    listen("execution_error", (data) => this.#with(data, (job) => this.#failed(job, data)));
    listen("preview", (data) => this.#preview(data));
  }

  /** @param {string} document @param {Session} session */
  opened(document, session) {
    this.#open.set(document, { document, session, problems: [] });
    if (this.#api.connection === "open") this.#resume().catch(() => {});
  }

  /** @param {string} document */
  closed(document) {
    this.#open.get(document)?.session.runs.clear();
    this.#open.delete(document);
  }

  /** A workflow has another name now. @param {string} before @param {string} after */
  renamed(before, after) {
    const open = this.#open.get(before);
    if (!open || before === after) return;
    this.#open.delete(before);
    this.#open.set(after, { ...open, document: after });
    for (const job of this.jobs.values()) if (job.document === before) job.document = after;
  }

  /** @param {string} document @returns {readonly Problem[]} */
  problems(document) {
    return this.#open.get(document)?.problems ?? [];
  }

  /** Jobs of a workflow that wait or run. @param {string} document */
  active(document) {
    return [...this.jobs.values()].filter((job) => job.document === document && (job.state === "waiting" || job.state === "running"));
  }

  /** How far the running job is, from 0 to 1: each node counts the same. */
  get share() {
    const job = this.running;
    if (!job) return null;
    const total = Object.keys(job.prompt).length || 1;
    const part = job.node && job.step && !job.finished.has(job.node) && job.step[1] > 0 ? job.step[0] / job.step[1] : 0;
    return Math.min(1, (job.finished.size + part) / total);
  }

  /** Seconds the running node still needs at its present pace; null while nobody can tell. */
  get left() {
    const { step = null, pace = null } = this.running ?? {};
    if (!step || !pace || step[0] - pace.value < 2 || step[0] >= step[1]) return null;
    return (((performance.now() - pace.at) / 1000) * (step[1] - step[0])) / (step[0] - pace.value);
  }

  /** What runs, in words. */
  get saying() {
    const job = this.running;
    if (!job?.node) return "";
    return titleIn(job.prompt, job.node) + (job.step && job.step[1] > 1 ? ` ${job.step[0]}/${job.step[1]}` : "");
  }

  /**
   * Send the workflow to the queue. Problems go to the list of the workflow, and onto its nodes.
   * @param {string} document
   * @param {RunOptions} [options]
   * @returns {Promise<boolean>} whether a job was accepted
   */
  async run(document, { front = false, count = 1, targets, number } = {}) {
    const open = this.#open.get(document);
    if (!open) return false;
    const { session } = open;
    this.#say(open, []);
    let accepted = false;
    for (let i = 0; i < count; i++) {
      const { prompt, workflow, problems, sent } = await this.compose(session);
      const unsaid = problems.map(({ message, node }) => ({ title: "", message, hint: "", node: node === undefined ? null : String(node) }));
      if (!Object.keys(prompt).length) {
        this.#say(open, [...unsaid, { title: "", message: "There is nothing to run.", hint: "Add nodes; one of them must save or show its result.", node: null }]);
        return accepted;
      }
      const id = newId();
      /** @type {Job} */
      const job = { id, document, prompt, state: "waiting", accepted: false, finished: new Set(), node: null, step: null, pace: null, outputs: [], preview: null };
      this.jobs.set(id, job);
      if (!this.running) session.runs.start(Object.keys(prompt));
      this.#tell();
      const sockets = this.#sockets;
      try {
        const answer = await this.send({
          prompt,
          prompt_id: id,
          client_id: this.#api.clientId,
          extra_data: { extra_pnginfo: { workflow }, emulsion: { document } },
          ...(front ? { front: true } : {}),
          ...(number === undefined ? {} : { number }),
          ...(targets ? { partial_execution_targets: targets } : {}),
        });
        job.accepted = true;
        accepted = true;
        if (this.#sockets !== sockets) this.#resume().catch(() => {}); // it may have ended before there was a socket to say so
        this.#say(open, [...unsaid, ...ofNodeErrors(answer.node_errors, prompt)]);
        advance(session.document, session.definitions);
        sent?.();
      } catch (error) {
        this.jobs.delete(id);
        if (!this.running) session.runs.end();
        this.#tell();
        if (error instanceof Refused) this.#say(open, ofRefusal(error, prompt));
        else this.#say(open, [{ title: "", message: "The server does not answer.", hint: "The workflow is kept here; run it again when the connection is back.", node: null }]);
        return accepted;
      }
    }
    return accepted;
  }

  /** Out of the queue, or interrupted. @param {string} id */
  async cancel(id) {
    await this.#api.post("queue", { delete: [id] });
    await this.#api.post("interrupt", { prompt_id: id });
    const job = this.jobs.get(id);
    if (job?.state === "waiting") this.#settle(job, "cancelled");
  }

  async cancelAll() {
    await this.#api.post("queue", { clear: true });
    await this.#api.post("interrupt", {});
    for (const job of [...this.jobs.values()]) if (job.state === "waiting") this.#settle(job, "cancelled");
  }

  /** @param {any} data @param {(job: Job) => void} act */
  #with(data, act) {
    const job = this.jobs.get(data.prompt_id);
    if (!job) return;
    if (job.state === "waiting") this.#begin(job);
    act(job);
    this.#tell();
  }

  /** @param {Job} job @returns {Open | undefined} */
  #of(job) {
    return this.#open.get(job.document);
  }

  /** @param {string} id */
  async #started(id) {
    if (!this.jobs.has(id)) await this.#findRunning();
    const job = this.jobs.get(id);
    if (job) this.#begin(job, true);
  }

  /** @param {Job} job @param {boolean} [anew]  also when it runs already: the worker died, and it runs again */
  #begin(job, anew = false) {
    if (this.running === job && !anew) return;
    job.state = "running";
    job.accepted = true;
    job.finished.clear();
    this.running = job;
    this.#of(job)?.session.runs.start(Object.keys(job.prompt));
    this.#tell();
  }

  /** @param {Job} job @param {readonly string[]} ids @param {"cached" | "done"} status */
  #end(job, ids, status) {
    const runs = this.#of(job)?.session.runs;
    for (const id of ids) {
      if (job.finished.has(id)) continue;
      job.finished.add(id);
      runs?.set(id, { status, progress: null, preview: null });
    }
  }

  /** @param {Job} job @param {any} data */
  #executing(job, data) {
    const id = data.display_node ?? data.node;
    job.node = id;
    job.step = null;
    job.pace = null;
    this.#of(job)?.session.runs.set(id, { status: "running", progress: null });
  }

  /** @param {Job} job @param {Record<string, any>} nodes */
  #states(job, nodes) {
    this.#end(job, Object.values(nodes).filter(({ state }) => state === "finished").map(({ display_node_id, node_id }) => display_node_id ?? node_id), "done");
  }

  /** @param {Job} job @param {any} data */
  #progress(job, data) {
    if (job.node !== data.node || !job.pace || data.value < job.pace.value) job.pace = { at: performance.now(), value: data.value };
    job.node = data.node;
    job.step = [data.value, data.max];
    this.#of(job)?.session.runs.set(data.node, { status: "running", progress: [data.value, data.max] });
  }

  /** @param {Job} job @param {any} data */
  #executed(job, data) {
    const outputs = outputsOf(this.#api, data.output);
    job.outputs.push(...outputs);
    if (data.output) this.#of(job)?.session.runs.set(data.display_node ?? data.node, { outputs, preview: null });
  }

  /** @param {Job} job @param {any} data */
  #failed(job, data) {
    const open = this.#of(job);
    if (open) this.#say(open, [ofFailure(data, job.prompt)]);
  }

  /** @param {{blob: Blob, job: string | null, node: string | null}} data */
  #preview({ blob, job: id, node }) {
    const job = id ? this.jobs.get(id) : this.running;
    if (!job) return;
    const url = URL.createObjectURL(blob);
    const shown = node ?? job.node;
    if (shown) this.#of(job)?.session.runs.set(shown, { preview: url });
    job.preview = url;
    this.#tell();
  }

  /** A job ended: the history holds how, also when its events were missed. @param {string} id */
  async #over(id) {
    const job = this.jobs.get(id);
    if (!job) return;
    const entry = (await this.#api.get(`history/${encodeURIComponent(id)}`))[id];
    if (!this.jobs.has(id)) return;
    const open = this.#of(job);
    const messages = entry?.status?.messages ?? [];
    const [type, data] = messages.at(-1) ?? [];
    for (const [said, { nodes = [] }] of messages) if (said === "execution_cached") this.#end(job, nodes, "cached");
    for (const [node, output] of Object.entries(entry?.outputs ?? {})) {
      const outputs = outputsOf(this.#api, output);
      const display = entry.meta?.[node]?.display_node ?? node;
      if (outputs.length) open?.session.runs.set(display, { outputs, preview: null });
      for (const each of outputs) if (!job.outputs.some(({ url }) => url === each.url)) job.outputs.push(each);
    }
    if (type === "execution_error") this.#failed(job, data);
    if (type === "execution_success") this.#end(job, Object.keys(job.prompt).filter((node) => open?.session.runs.of(node).status === "running"), "done");
    this.#settle(job, type === "execution_success" ? "done" : type === "execution_interrupted" ? "cancelled" : entry ? "failed" : "gone");
    if (open && entry) this.#times(job, open.session).catch(() => {});
  }

  /** Why nodes ran, and for how long. @param {Job} job @param {Session} session */
  async #times(job, session) {
    for (const told of await this.#api.get(`jobs/${encodeURIComponent(job.id)}/events`)) {
      if (told.event === "NodeWhy") session.runs.set(told.node, { reason: told.reason });
      else if (told.event === "NodeFinished" && told.seconds && session.runs.of(told.node).status === "done") session.runs.set(told.node, { seconds: told.seconds });
    }
  }

  /** @param {Job} job @param {JobState} state */
  #settle(job, state) {
    job.state = state;
    job.preview = null;
    if (this.running === job) {
      this.running = null;
    }
    if (!this.active(job.document).some((each) => each.state === "running")) this.#of(job)?.session.runs.end();
    this.jobs.delete(job.id);
    this.#tell();
    this.dispatchEvent(new CustomEvent("ended", { detail: { job } }));
  }

  /** Jobs of our workflows that another page, or this one before it was loaded again, has sent. */
  async #findRunning() {
    const queue = await this.#api.get("queue");
    const there = new Set();
    for (const [list, state] of [[queue.queue_pending, "waiting"], [queue.queue_running, "running"]]) {
      for (const [, id, prompt, extra] of list) {
        there.add(id);
        const document = extra?.emulsion?.document;
        if (this.jobs.has(id) || !this.#open.has(document)) continue;
        this.jobs.set(id, { id, document, prompt, state: "waiting", accepted: true, finished: new Set(), node: null, step: null, pace: null, outputs: [], preview: null });
        if (state === "running") this.#begin(/** @type {Job} */ (this.jobs.get(id)));
      }
    }
    return { there, running: /** @type {string | undefined} */ (queue.queue_running[0]?.[1]) };
  }

  /** After a connection was made: find our jobs again, and settle those that ended meanwhile. */
  async #resume() {
    const { there, running } = await this.#findRunning();
    for (const job of [...this.jobs.values()]) {
      if (job.accepted && !there.has(job.id)) await this.#over(job.id);
      else if (job.state === "running" && job.id !== running) {
        job.state = "waiting"; // the worker died under it; it is in line again
        if (this.running === job) this.running = null;
      }
    }
    const now = running === undefined ? undefined : this.jobs.get(running);
    if (now) this.#begin(now);
    this.#tell();
  }

  /** @param {Open} open @param {Problem[]} problems */
  #say(open, problems) {
    const { runs } = open.session;
    for (const [id, { error, status }] of runs.all) {
      if (error) runs.set(id, { error: null, ...(status === "error" ? { status: "idle" } : {}) });
    }
    open.problems = problems.map((problem) => ({ ...problem, node: problem.node && ownerOf(problem.node) }));
    for (const { node, message, hint } of open.problems) if (node) runs.set(node, { status: "error", progress: null, preview: null, error: { message, hint } });
    this.dispatchEvent(new CustomEvent("problems", { detail: { document: open.document } }));
  }

  #tell() {
    this.dispatchEvent(new CustomEvent("jobs"));
  }
}
