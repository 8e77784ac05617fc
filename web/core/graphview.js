// One graph of a document as everybody but the document sees it: tables to read.

import { LinkIndex } from "./links.js";

/** @typedef {import("./records.js").Id} Id */
/** @typedef {import("./records.js").Table} Table */
/** @typedef {import("./records.js").AnyRecord} AnyRecord */
/** @typedef {import("./records.js").NodeRecord} NodeRecord */
/** @typedef {import("./records.js").LinkRecord} LinkRecord */
/** @typedef {import("./records.js").GroupRecord} GroupRecord */
/** @typedef {import("./records.js").RerouteRecord} RerouteRecord */
/** @typedef {import("./records.js").FloatingRecord} FloatingRecord */
/** @typedef {import("./records.js").GraphRecord} GraphRecord */

/**
 * @typedef {object} Tables
 * @property {Map<Id, Readonly<GraphRecord>>} graph
 * @property {Map<Id, Readonly<NodeRecord>>} nodes
 * @property {Map<Id, Readonly<LinkRecord>>} links
 * @property {Map<Id, Readonly<GroupRecord>>} groups
 * @property {Map<Id, Readonly<RerouteRecord>>} reroutes
 * @property {Map<Id, Readonly<FloatingRecord>>} floating
 */

export class GraphView {
  #tables;
  #index = new LinkIndex();

  /**
   * @param {string} name
   * @param {Tables} tables  owned by the document
   */
  constructor(name, tables) {
    this.name = name;
    this.#tables = tables;
  }

  /** @returns {Readonly<GraphRecord>} */
  get record() {
    const [record] = this.#tables.graph.values();
    if (!record) throw new Error(`The graph ${this.name} is no longer part of the document.`);
    return record;
  }

  /** @returns {ReadonlyMap<Id, Readonly<NodeRecord>>} */
  get nodes() {
    return this.#tables.nodes;
  }

  /** @returns {ReadonlyMap<Id, Readonly<LinkRecord>>} */
  get links() {
    return this.#tables.links;
  }

  /** @returns {ReadonlyMap<Id, Readonly<GroupRecord>>} */
  get groups() {
    return this.#tables.groups;
  }

  /** @returns {ReadonlyMap<Id, Readonly<RerouteRecord>>} */
  get reroutes() {
    return this.#tables.reroutes;
  }

  /** @returns {ReadonlyMap<Id, Readonly<FloatingRecord>>} */
  get floating() {
    return this.#tables.floating;
  }

  /** Links by node and slot; only the document adds and removes. */
  get linked() {
    return this.#index;
  }

  /**
   * The node with this id.
   * @param {Id} id
   * @returns {Readonly<NodeRecord>}
   * @throws {Error} when there is none
   */
  node(id) {
    const node = this.#tables.nodes.get(id);
    if (!node) throw new Error(`There is no node ${id} in the graph ${this.name}.`);
    return node;
  }

  /**
   * Where an input is among the inputs of a node; -1 when it has no such socket.
   * @param {Id} id
   * @param {string} name
   */
  inputIndex(id, name) {
    return (this.node(id).inputs ?? []).findIndex((slot) => slot.name === name);
  }

  /**
   * The reroutes a link passes, first one first.
   * @param {Readonly<LinkRecord>} link
   * @returns {Readonly<RerouteRecord>[]}
   */
  reroutesOf(link) {
    const passed = new Set();
    for (let id = link.parentId; id !== undefined; ) {
      const reroute = this.#tables.reroutes.get(id);
      if (!reroute || passed.has(reroute)) break;
      passed.add(reroute);
      id = reroute.parentId;
    }
    return [...passed].reverse();
  }
}

/**
 * Records in the order of the file; for nodes also the order they are painted in.
 * @template {{rank$: number}} R
 * @param {ReadonlyMap<unknown, R>} table
 * @returns {R[]}
 */
export function ranked(table) {
  return [...table.values()].sort((a, b) => a.rank$ - b.rank$);
}

/** @returns {Tables} */
export function emptyTables() {
  return { graph: new Map(), nodes: new Map(), links: new Map(), groups: new Map(), reroutes: new Map(), floating: new Map() };
}
