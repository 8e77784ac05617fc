// The workflows that are open, as tabs: opened, kept in the journal, saved, closed.

import { Document } from "../core/document.js";
import { fromPrompt } from "../format/from_prompt.js";
import { BadWorkflow, kindOf, readWorkflow, writeWorkflow } from "../format/workflow.js";
import { createSession } from "../session.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../session.js").Shared} Shared */
/** @typedef {import("./journal.js").Journal} Journal */
/** @typedef {import("./store.js").Store} Store */
/**
 * @typedef {object} Tab
 * @property {string} key  of the journal; jobs name it as theirs
 * @property {string | null} path  below workflows/ on the server; null before the first save
 * @property {string} name
 * @property {string | null} version
 * @property {Session} session
 * @property {readonly {message: string}[]} notes  what in the file made no sense
 */
/** @typedef {{path?: string | null, name?: string, version?: string | null, key?: string, activate?: boolean, dirty?: boolean}} OpenOptions */

const KEEP_AFTER_MS = 400;

/** Events: `tabs` when the list or a name or mark changed, `active` when another tab is shown, `opened` and `closed` {tab}. */
export class Workspace extends EventTarget {
  /** @type {Tab[]} */
  tabs = [];
  /** @type {Tab | null} */
  active = null;
  #shared;
  #store;
  /** @type {Journal | null} */
  #journal = null;
  #window = "";
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #due = new Map();

  /** Called before a workflow is written: scripts of node packs put in what they hold. @type {(document: Document) => void} */
  prepare = () => {};

  /** @param {Shared} shared @param {Store} store */
  constructor(shared, store) {
    super();
    this.#shared = shared;
    this.#store = store;
    addEventListener("pagehide", () => this.flush());
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  /**
   * Keep what is open from now on, and take up what was open before, also by a page that crashed.
   * @param {Journal | null} journal
   * @param {{name: string, isAlive: (name: string) => Promise<boolean>}} window
   * @returns {Promise<{recovered: number}>} how many came from a page that is no more
   */
  async restore(journal, window) {
    this.#journal = journal;
    this.#window = window.name;
    if (!journal) return { recovered: 0 };
    let recovered = 0;
    let active = null;
    for (const entry of (await journal.all().catch(() => [])).sort((a, b) => a.order - b.order)) {
      const own = entry.window === this.#window;
      if (!own && (await window.isAlive(entry.window))) continue;
      try {
        const tab = this.#add(Document.resume(entry.kept), { path: entry.path, name: entry.name, version: entry.version, key: entry.key });
        if (entry.active && own) active = tab;
        if (!own) recovered++;
        if (!own) this.#keepSoon(tab);
      } catch {
        await journal.delete(entry.key).catch(() => {}); // what cannot be read can only be in the way
      }
    }
    if (this.tabs.length) this.activate(active ?? this.tabs[this.tabs.length - 1]);
    return { recovered };
  }

  /**
   * Open a parsed file of either form in a tab of its own.
   * @param {unknown} json
   * @param {OpenOptions} [options]
   * @returns {Tab}
   * @throws {BadWorkflow}
   */
  open(json, options = {}) {
    const kind = kindOf(json);
    const { document, problems } = kind === "prompt" ? fromPrompt(json, this.#shared.definitions) : readWorkflow(json);
    if (kind === "prompt") document.markSaved();
    const tab = this.#add(document, options);
    tab.notes = problems;
    if (options.activate !== false) this.activate(tab);
    this.#keepSoon(tab);
    return tab;
  }

  /** An empty workflow. */
  create() {
    const document = new Document();
    document.markSaved();
    const tab = this.#add(document, {});
    this.activate(tab);
    return tab;
  }

  /** @param {Document} document @param {OpenOptions} options @returns {Tab} */
  #add(document, { path = null, name, version = null, key = Math.random().toString(36).slice(2) }) {
    /** @type {Tab} */
    const tab = { key, path, name: this.#free(name ?? (path ? titleOf(path) : "Unsaved workflow"), path), version, session: createSession(this.#shared, document), notes: [] };
    this.tabs.push(tab);
    let dirty = document.dirty;
    document.subscribe(() => {
      this.#keepSoon(tab);
      if (document.dirty !== dirty) {
        dirty = document.dirty;
        this.#tell("tabs");
      }
    });
    this.#tell("opened", { tab });
    this.#tell("tabs");
    return tab;
  }

  /** @param {string} name @param {string | null} path */
  #free(name, path) {
    if (path) return name;
    let free = name;
    for (let i = 2; this.tabs.some((tab) => tab.name === free); i++) free = `${name} (${i})`;
    return free;
  }

  /** @param {Tab} tab */
  activate(tab) {
    if (this.active === tab) return;
    const before = this.active;
    this.active = tab;
    if (before && this.tabs.includes(before)) this.#keepSoon(before);
    this.#keepSoon(tab);
    this.#tell("active");
    this.#tell("tabs");
  }

  /** Close without asking. @param {Tab} tab */
  close(tab) {
    const at = this.tabs.indexOf(tab);
    if (at < 0) return;
    this.tabs.splice(at, 1);
    clearTimeout(this.#due.get(tab.key));
    this.#due.delete(tab.key);
    this.#journal?.delete(tab.key).catch(() => {});
    tab.session.selection.close();
    this.#tell("closed", { tab });
    if (this.active === tab) {
      this.active = null;
      if (this.tabs.length) this.activate(this.tabs[Math.min(at, this.tabs.length - 1)]);
      else this.#tell("active");
    }
    this.#tell("tabs");
  }

  /**
   * Save to the server.
   * @param {Tab} tab
   * @param {{path?: string, overwrite?: boolean}} [options]  `path`: under another name; `overwrite`: whatever is there
   * @throws {import("./store.js").Conflict}
   */
  async save(tab, { path = tab.path ?? undefined, overwrite = false } = {}) {
    if (!path) throw new Error("A workflow needs a name before it can be saved.");
    const { document, definitions } = tab.session;
    this.prepare(document);
    const revision = document.revision;
    const expected = overwrite ? undefined : path === tab.path ? tab.version : null;
    tab.version = await this.#store.write(path, writeWorkflow(document, definitions), expected);
    tab.path = path;
    tab.name = titleOf(path);
    if (document.revision === revision) document.markSaved();
    this.#keepSoon(tab);
    this.#tell("tabs");
  }

  /** Its file has another place now. @param {Tab} tab @param {string} path */
  moved(tab, path) {
    tab.path = path;
    tab.name = titleOf(path);
    this.#keepSoon(tab);
    this.#tell("tabs");
  }

  /** Its file is gone; the tab holds the only copy. @param {Tab} tab */
  orphaned(tab) {
    tab.path = null;
    tab.version = null;
    this.#keepSoon(tab);
    this.#tell("tabs");
  }

  /** Put another state in the place of a tab's, as one that is not saved. @param {Tab} tab @param {unknown} json */
  replace(tab, json) {
    const opened = readWorkflow(json);
    const kept = opened.document.keep(0);
    const next = this.#add(Document.resume({ ...kept, saved: -1 }), { path: tab.path, version: tab.version, name: tab.name });
    next.notes = opened.problems;
    this.activate(next);
    this.close(tab);
    return next;
  }

  /** Write what waits into the journal now. */
  flush() {
    for (const [key, timer] of this.#due) {
      clearTimeout(timer);
      const tab = this.tabs.find((each) => each.key === key);
      if (tab) this.#keep(tab);
    }
    this.#due.clear();
  }

  /** @param {Tab} tab */
  #keepSoon(tab) {
    if (this.#due.has(tab.key)) return;
    this.#due.set(tab.key, setTimeout(() => {
      this.#due.delete(tab.key);
      this.#keep(tab);
    }, KEEP_AFTER_MS));
  }

  /** @param {Tab} tab */
  #keep(tab) {
    const { key, path, name, version, session } = tab;
    this.#journal
      ?.put({ key, window: this.#window, order: this.tabs.indexOf(tab), active: this.active === tab, path, name, version, at: Date.now(), kept: session.document.keep() })
      .catch((error) => this.#tell("unkept", { error }));
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The name of a file without folders and ending. @param {string} path */
export function titleOf(path) {
  return (path.split("/").at(-1) ?? path).replace(/\.json$/i, "");
}

export { BadWorkflow };
