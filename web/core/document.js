// The one truth about a workflow. Everything that changes it goes through `edit`, which records how to take it back.

import { GraphView, emptyTables } from "./graphview.js";
import { History } from "./history.js";
import { ROOT, freeze } from "./records.js";

/** @typedef {import("./records.js").Id} Id */
/** @typedef {import("./records.js").Table} Table */
/** @typedef {import("./records.js").Patch} Patch */
/** @typedef {import("./records.js").AnyRecord} AnyRecord */
/** @typedef {import("./graphview.js").Tables} Tables */
/** @typedef {"edit" | "undo" | "redo" | "apply"} Origin */
/** @typedef {{label: string, origin: Origin, patches: readonly Patch[]}} Change */
/** @typedef {{records: readonly Patch[], done: readonly import("./history.js").Entry[], undone: readonly import("./history.js").Entry[], saved: number}} Kept */
/**
 * @typedef {object} EditOptions
 * @property {string | null} [merge]  edits in a row with the same key are one step of the history (a drag, typing); `seal` ends the row
 * @property {boolean} [amend]  part of the step before it: what follows from a step by itself, and is undone with it
 */

/** What an edit may do to the tables. Reading goes through `doc.graph(name)`, which shows every write at once. */
export class Transaction {
  /** @type {Map<string, Patch>} */
  #patches = new Map();
  #write;

  /** @param {(patch: Patch) => void} write */
  constructor(write) {
    this.#write = write;
  }

  /**
   * Add a record or put another in its place.
   * @param {string} graph
   * @param {Table} table
   * @param {AnyRecord} record
   */
  put(graph, table, record) {
    this.record({ graph, table, id: record.id, before: undefined, after: freeze(record) });
  }

  /**
   * @param {string} graph
   * @param {Table} table
   * @param {Id} id
   */
  remove(graph, table, id) {
    this.record({ graph, table, id, before: undefined, after: undefined });
  }

  /** What was changed so far, a record at most once. @returns {Patch[]} */
  get patches() {
    return [...this.#patches.values()].filter((patch) => patch.before !== patch.after);
  }

  /** Write one patch; its `before` is filled in. @param {Patch} patch */
  record(patch) {
    this.#write(patch);
    const key = `${patch.table}\n${typeof patch.id}\n${patch.id}\n${patch.graph}`;
    const earlier = this.#patches.get(key);
    this.#patches.set(key, earlier ? { ...patch, before: earlier.before } : patch);
  }
}

export class Document {
  /** @type {Map<string, {tables: Tables, view: GraphView}>} */
  #graphs = new Map();
  #history;
  /** @type {Set<(change: Change) => void>} */
  #listeners = new Set();
  /** @type {Transaction | null} */
  #transaction = null;
  #revision = 0;
  #rank = 0;

  /** @param {{history?: number}} [options] `history`: how many steps can be undone */
  constructor({ history = 1000 } = {}) {
    this.#history = new History(history);
    /** @type {import("./records.js").GraphRecord} */
    const root = { id: ROOT, rank$: 0, version: 0.4, last_node_id: 0, last_link_id: 0, config: {}, extra: {} };
    this.#write({ graph: ROOT, table: "graph", id: ROOT, before: undefined, after: freeze(root) });
  }

  /** Counts every change, undone ones too. */
  get revision() {
    return this.#revision;
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  get undoLabel() {
    return this.#history.undoLabel;
  }

  get redoLabel() {
    return this.#history.redoLabel;
  }

  /** Whether there are changes since the document was opened or saved. */
  get dirty() {
    return this.#history.dirty;
  }

  markSaved() {
    this.#history.markSaved();
  }

  /** End a drag or typing: the next edit is a step of its own. */
  seal() {
    this.#history.seal();
  }

  /** A place in the order of the file after everything that is there. */
  nextRank() {
    return ++this.#rank;
  }

  /** The root graph. */
  get root() {
    return this.graph(ROOT);
  }

  /** Names of the subgraph definitions, in the order of the file. @returns {string[]} */
  get definitions() {
    const views = [...this.#graphs.values()].map(({ view }) => view).filter((view) => view.name !== ROOT && this.hasGraph(view.name));
    return views.sort((a, b) => a.record.rank$ - b.record.rank$).map((view) => view.name);
  }

  /** @param {string} name */
  hasGraph(name) {
    return (this.#graphs.get(name)?.tables.graph.size ?? 0) > 0;
  }

  /**
   * @param {string} name  ROOT or the id of a subgraph definition
   * @throws {Error} when there is none
   */
  graph(name) {
    const graph = this.#graphs.get(name);
    if (!graph || !graph.tables.graph.size) throw new Error(`There is no graph ${name} in this document.`);
    return graph.view;
  }

  /**
   * Run a function that changes records, as one step: all of it happens, or (when it throws) nothing. An edit inside an edit
   * is part of it; when it throws and the outer one goes on, only what it did itself is taken back.
   * @template T
   * @param {string} label  what the step is called in the history
   * @param {(tx: Transaction) => T} change
   * @param {EditOptions} [options]
   * @returns {T}
   */
  edit(label, change, { merge = null, amend = false } = {}) {
    const outer = this.#transaction;
    /** @type {(patch: Patch) => void} */
    const write = outer ? (patch) => outer.record(patch) : (patch) => this.#write(patch);
    const tx = new Transaction(write);
    this.#transaction = tx;
    let result;
    try {
      result = change(tx);
    } catch (error) {
      for (const patch of tx.patches.reverse()) write(inverse(patch));
      throw error;
    } finally {
      this.#transaction = outer;
    }
    if (outer) return result;
    const patches = tx.patches;
    if (patches.length) {
      if (amend) this.#history.amend(patches);
      else this.#history.push(label, patches, merge);
      this.#announce({ label, origin: "edit", patches });
    }
    return result;
  }

  /** Take back the last step. @returns {boolean} whether there was one */
  undo() {
    this.#refuseInside("undo");
    const entry = this.#history.undo();
    if (!entry) return false;
    const patches = entry.patches.map(inverse).reverse();
    for (const patch of patches) this.#write(patch);
    this.#announce({ label: entry.label, origin: "undo", patches });
    return true;
  }

  /** Do the step that was undone last again. @returns {boolean} whether there was one */
  redo() {
    this.#refuseInside("redo");
    const entry = this.#history.redo();
    if (!entry) return false;
    for (const patch of entry.patches) this.#write(patch);
    this.#announce({ label: entry.label, origin: "redo", patches: entry.patches });
    return true;
  }

  /**
   * Bring in patches made elsewhere (a file being opened, a journal after a crash). They are no step of the history;
   * the steps before them are forgotten, since they may not fit any more, and the document counts as not saved.
   * @param {readonly Patch[]} patches
   * @param {string} [label]
   */
  apply(patches, label = "Apply changes") {
    this.#refuseInside("apply patches");
    const applied = patches.map((patch) => ({ ...patch, after: freeze(patch.after) }));
    for (const patch of applied) this.#write(patch);
    this.#history.clear();
    this.#announce({ label, origin: "apply", patches: applied });
  }

  /**
   * All there is to know, as plain data that can be kept outside (an autosave): the records, and the last `most` steps.
   * @param {number} [most]
   * @returns {Kept}
   */
  keep(most = 200) {
    const records = [...this.#graphs].flatMap(([graph, { tables }]) =>
      Object.entries(tables).flatMap(([table, rows]) => [...rows.values()].map((after) => ({ graph, table: /** @type {Table} */ (table), id: after.id, before: undefined, after }))),
    );
    return { records, ...this.#history.kept(most) };
  }

  /**
   * A document as it was kept, its steps included.
   * @param {Kept} kept
   * @returns {Document}
   */
  static resume({ records, done, undone, saved }) {
    const document = new Document();
    document.apply(records, "Open");
    /** @param {import("./history.js").Entry} entry */
    const frozen = (entry) => ({ ...entry, patches: entry.patches.map((patch) => ({ ...patch, before: freeze(patch.before), after: freeze(patch.after) })) });
    document.#history.resume({ done: done.map(frozen), undone: undone.map(frozen), saved });
    return document;
  }

  /**
   * Hear of every change, once per step, after it is complete.
   * @param {(change: Change) => void} listener
   * @returns {() => void} stops it
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @param {string} what */
  #refuseInside(what) {
    if (this.#transaction) throw new Error(`Cannot ${what} in the middle of an edit.`);
  }

  /** @param {Change} change */
  #announce(change) {
    this.#revision++;
    const errors = [];
    for (const listener of [...this.#listeners]) {
      try {
        listener(change);
      } catch (error) {
        errors.push(error); // the change is made; the others must hear of it all the same
      }
    }
    if (errors.length) throw errors.length === 1 ? errors[0] : new AggregateError(errors, `Several listeners failed after: ${change.label}.`);
  }

  /**
   * The only place that touches the tables. Fills in `before` with what is really there.
   * @param {Patch} patch
   */
  #write(patch) {
    let graph = this.#graphs.get(patch.graph);
    if (!graph) {
      const tables = emptyTables();
      graph = { tables, view: new GraphView(patch.graph, tables) };
      this.#graphs.set(patch.graph, graph);
    }
    const table = /** @type {Map<Id, Readonly<AnyRecord>>} */ (graph.tables[patch.table]);
    const before = table.get(patch.id);
    patch.before = before;
    if (patch.table === "links") {
      if (before) graph.view.linked.remove(/** @type {import("./records.js").LinkRecord} */ (before));
      if (patch.after) graph.view.linked.add(/** @type {import("./records.js").LinkRecord} */ (patch.after));
    }
    if (patch.after) {
      table.set(patch.id, patch.after);
      if (patch.after.rank$ > this.#rank) this.#rank = patch.after.rank$;
    } else table.delete(patch.id);
  }
}

/** @param {Patch} patch @returns {Patch} */
function inverse(patch) {
  return { graph: patch.graph, table: patch.table, id: patch.id, before: patch.after, after: patch.before };
}

/**
 * The ids a change touched in one table of one graph.
 * @param {Change} change
 * @param {string} graph
 * @param {Table} table
 * @returns {Set<Id>}
 */
export function touched(change, graph, table) {
  return new Set(change.patches.filter((patch) => patch.graph === graph && patch.table === table).map((patch) => patch.id));
}
