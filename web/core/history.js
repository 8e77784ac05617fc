// What can be undone and redone: a list of named changes, each a list of patches.

/** @typedef {import("./records.js").Patch} Patch */
/** @typedef {{label: string, patches: readonly Patch[], merge: string | null}} Entry */

export class History {
  /** @type {Entry[]} */
  #done = [];
  /** @type {Entry[]} */
  #undone = [];
  /** @type {Entry | null | undefined} the change on top when the document was saved; undefined once that change is out of reach */
  #saved = null;
  #open = false;
  #limit;

  /** @param {number} [limit] how many changes are kept */
  constructor(limit = 1000) {
    this.#limit = limit;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** @returns {string | null} */
  get undoLabel() {
    return this.#done.at(-1)?.label ?? null;
  }

  /** @returns {string | null} */
  get redoLabel() {
    return this.#undone.at(-1)?.label ?? null;
  }

  /** Whether the document differs from what was saved. */
  get dirty() {
    return (this.#done.at(-1) ?? null) !== this.#saved;
  }

  /** Remember the present state as the saved one. */
  markSaved() {
    this.seal();
    this.#saved = this.#done.at(-1) ?? null;
  }

  /** End the running drag or typing: the next change is an entry of its own. */
  seal() {
    this.#open = false;
  }

  /**
   * Add a change. With a merge key it joins the entry before it, if that has the same key and nothing came between.
   * @param {string} label
   * @param {readonly Patch[]} patches
   * @param {string | null} merge
   */
  push(label, patches, merge) {
    const last = this.#done.at(-1);
    if (last && this.#open && merge !== null && last.merge === merge) {
      const joined = join(last.patches, patches);
      if (joined.length) this.#done[this.#done.length - 1] = { label, patches: joined, merge };
      else this.#done.pop();
    } else {
      this.#done.push({ label, patches, merge });
      if (this.#done.length > this.#limit) {
        this.#done.shift();
        if (this.#saved === null) this.#saved = undefined;
      }
    }
    this.#undone.length = 0;
    this.#open = merge !== null;
  }

  /** Make a change part of the step before it, whatever that was; with no step before it, it belongs to the state at the beginning. @param {readonly Patch[]} patches */
  amend(patches) {
    const last = this.#done.at(-1);
    if (!last) return;
    const joined = { ...last, patches: join(last.patches, patches) };
    if (this.#saved === last) this.#saved = joined;
    this.#done[this.#done.length - 1] = joined;
  }

  /** Take the change to undo; its patches are to be applied backwards. @returns {Entry | undefined} */
  undo() {
    this.seal();
    const entry = this.#done.pop();
    if (entry) this.#undone.push(entry);
    return entry;
  }

  /** @returns {Entry | undefined} */
  redo() {
    this.seal();
    const entry = this.#undone.pop();
    if (entry) this.#done.push(entry);
    return entry;
  }

  /** Everything there is to keep beside the document, the last `most` steps of it. @param {number} most */
  kept(most) {
    const done = this.#done.slice(-most);
    const saved = this.#saved === undefined ? -1 : this.#saved === null ? (done.length === this.#done.length ? 0 : -1) : done.indexOf(this.#saved) + 1 || -1;
    return { done, undone: this.#undone.slice(-most), saved };
  }

  /** Take up what was kept; `saved`: how many steps there were when the document was saved, -1 when that is out of reach.
   * @param {{done: readonly Entry[], undone: readonly Entry[], saved: number}} kept */
  resume({ done, undone, saved }) {
    this.#done = [...done];
    this.#undone = [...undone];
    this.#saved = saved < 0 ? undefined : (this.#done[saved - 1] ?? null);
    this.seal();
  }

  /** Forget every step; the state is then no saved one. */
  clear() {
    this.#done.length = 0;
    this.#undone.length = 0;
    this.#saved = undefined;
    this.seal();
  }
}

/**
 * Two lists of patches as one: per record what was before the first and what is after the second.
 * @param {readonly Patch[]} first
 * @param {readonly Patch[]} second
 * @returns {Patch[]}
 */
function join(first, second) {
  /** @type {Map<string, Patch>} */
  const merged = new Map(first.map((patch) => [address(patch), patch]));
  for (const patch of second) {
    const earlier = merged.get(address(patch));
    merged.set(address(patch), earlier ? { ...patch, before: earlier.before } : patch);
  }
  return [...merged.values()].filter((patch) => patch.before !== patch.after);
}

/** @param {Patch} patch */
function address(patch) {
  return `${patch.graph}\n${patch.table}\n${typeof patch.id}\n${patch.id}`;
}
