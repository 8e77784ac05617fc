// What is selected in the graph on screen. No part of the document: selecting is not undone, and not saved.

/** @typedef {import("./records.js").Id} Id */
/** @typedef {{graph: string, nodes: ReadonlySet<Id>, groups: ReadonlySet<Id>}} Selected */

export class Selection {
  /** @type {Selected} */
  #now;
  /** @type {Set<(selected: Selected) => void>} */
  #listeners = new Set();
  #stop;

  /**
   * @param {import("./document.js").Document} document
   * @param {string} graph
   */
  constructor(document, graph) {
    this.#now = { graph, nodes: new Set(), groups: new Set() };
    this.#stop = document.subscribe((change) => this.#forget(change));
  }

  /** @returns {Selected} */
  get selected() {
    return this.#now;
  }

  /**
   * @param {Iterable<Id>} nodes
   * @param {Iterable<Id>} [groups]
   * @param {string} [graph]  another graph of the document
   */
  set(nodes, groups = [], graph = this.#now.graph) {
    this.#now = { graph, nodes: new Set(nodes), groups: new Set(groups) };
    for (const listener of [...this.#listeners]) listener(this.#now);
  }

  /** Select a node that is not selected, or the other way round. @param {Id} id */
  toggle(id) {
    const nodes = new Set(this.#now.nodes);
    if (!nodes.delete(id)) nodes.add(id);
    this.set(nodes, this.#now.groups);
  }

  clear() {
    if (this.#now.nodes.size || this.#now.groups.size) this.set([]);
  }

  /** @param {(selected: Selected) => void} listener @returns {() => void} stops it */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stop following the document. */
  close() {
    this.#stop();
    this.#listeners.clear();
  }

  /** What is gone is not selected. @param {import("./document.js").Change} change */
  #forget({ patches }) {
    const { graph, nodes, groups } = this.#now;
    const gone = patches.filter((patch) => patch.graph === graph && !patch.after);
    const without = (/** @type {ReadonlySet<Id>} */ ids, /** @type {string} */ table) => {
      const lost = new Set(gone.filter((patch) => patch.table === table).map((patch) => patch.id));
      return [...ids].filter((id) => !lost.has(id));
    };
    const left = { nodes: without(nodes, "nodes"), groups: without(groups, "groups") };
    if (left.nodes.length < nodes.size || left.groups.length < groups.size) this.set(left.nodes, left.groups);
  }
}
