// Who is linked to whom in one graph: the link table, seen from the nodes.

/** @typedef {import("./records.js").Id} Id */
/** @typedef {import("./records.js").LinkRecord} LinkRecord */

/** @type {readonly never[]} */
const NONE = Object.freeze([]);

export class LinkIndex {
  /** @type {Map<Id, Map<number, Readonly<LinkRecord>[]>>} */
  #into = new Map();
  /** @type {Map<Id, Map<number, Readonly<LinkRecord>[]>>} */
  #outOf = new Map();

  /** @param {Readonly<LinkRecord>} link */
  add(link) {
    insert(this.#into, link.to, link.toSlot, link);
    insert(this.#outOf, link.from, link.fromSlot, link);
  }

  /** @param {Readonly<LinkRecord>} link */
  remove(link) {
    discard(this.#into, link.to, link.toSlot, link);
    discard(this.#outOf, link.from, link.fromSlot, link);
  }

  /**
   * The link that feeds an input, if there is one.
   * @param {Id} node
   * @param {number} slot
   * @returns {Readonly<LinkRecord> | undefined}
   */
  input(node, slot) {
    return this.#into.get(node)?.get(slot)?.[0];
  }

  /**
   * All links into an input. An input of a node has one at most; files hold more for an output of a subgraph, where the first counts.
   * @param {Id} node
   * @param {number} slot
   * @returns {readonly Readonly<LinkRecord>[]}
   */
  inputs(node, slot) {
    return this.#into.get(node)?.get(slot) ?? NONE;
  }

  /**
   * The links that leave an output, in the order of the file.
   * @param {Id} node
   * @param {number} slot
   * @returns {readonly Readonly<LinkRecord>[]}
   */
  output(node, slot) {
    return this.#outOf.get(node)?.get(slot) ?? NONE;
  }

  /**
   * All links into a node, by slot.
   * @param {Id} node
   * @returns {Readonly<LinkRecord>[]}
   */
  into(node) {
    return bySlot(this.#into.get(node));
  }

  /**
   * All links out of a node, by slot.
   * @param {Id} node
   * @returns {Readonly<LinkRecord>[]}
   */
  outOf(node) {
    return bySlot(this.#outOf.get(node));
  }

  /**
   * All links that touch a node; a link from a node to itself once.
   * @param {Id} node
   * @returns {Readonly<LinkRecord>[]}
   */
  of(node) {
    return [...new Set([...this.into(node), ...this.outOf(node)])];
  }
}

/** @param {Map<number, Readonly<LinkRecord>[]> | undefined} slots @returns {Readonly<LinkRecord>[]} */
function bySlot(slots) {
  return slots ? [...slots].sort(([a], [b]) => a - b).flatMap(([, links]) => links) : [];
}

/**
 * @param {Map<Id, Map<number, Readonly<LinkRecord>[]>>} index
 * @param {Id} node
 * @param {number} slot
 * @param {Readonly<LinkRecord>} link
 */
function insert(index, node, slot, link) {
  let slots = index.get(node);
  if (!slots) index.set(node, (slots = new Map()));
  const links = slots.get(slot);
  if (!links) {
    slots.set(slot, [link]);
    return;
  }
  let at = links.length;
  while (at > 0 && links[at - 1].rank$ > link.rank$) at--;
  links.splice(at, 0, link);
}

/**
 * @param {Map<Id, Map<number, Readonly<LinkRecord>[]>>} index
 * @param {Id} node
 * @param {number} slot
 * @param {Readonly<LinkRecord>} link
 */
function discard(index, node, slot, link) {
  const slots = index.get(node);
  const links = slots?.get(slot);
  if (!slots || !links) return;
  const at = links.indexOf(link);
  if (at >= 0) links.splice(at, 1);
  if (!links.length) slots.delete(slot);
  if (!slots.size) index.delete(node);
}
