// What a person set: kept by the server for this user, and in the browser so that the page starts right at once.

/**
 * @typedef {object} Definition
 * @property {string} key  such as "canvas.grid"
 * @property {string} title
 * @property {string} [group]
 * @property {string} [tooltip]
 * @property {"boolean" | "number" | "text" | "choice" | "hidden"} kind
 * @property {unknown} default
 * @property {readonly (string | {value: string, title: string})[]} [choices]
 * @property {boolean} [local]  of this browser alone, such as what is open
 * @property {boolean} [shared]  kept under its own name, which packs and other editors use, too
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 */
/** @typedef {{load(): Promise<Record<string, unknown>>, save(key: string, value: unknown): Promise<unknown>}} Remote */

const CACHE = "emulsion.settings";
/** The prefix on the server, whose settings packs and other editors share. */
export const PREFIX = "Emulsion.";

export class Settings {
  /** @type {Map<string, Definition>} */
  #definitions = new Map();
  /** @type {Record<string, unknown>} */
  #values;
  /** @type {Map<string, Set<(value: any) => void>>} */
  #listeners = new Map();
  /** What the server keeps for others, by whole name. @type {Record<string, unknown>} */
  #foreign = {};
  #storage;
  #remote;

  /**
   * @param {Remote | null} [remote]
   * @param {Pick<Storage, "getItem" | "setItem"> | null} [storage]
   */
  constructor(remote = null, storage = globalThis.localStorage ?? null) {
    this.#remote = remote;
    this.#storage = storage;
    this.#values = parsed(storage?.getItem(CACHE) ?? null);
  }

  /** Whoever uses a setting says what it is. @param {...Definition} definitions */
  register(...definitions) {
    for (const definition of definitions) {
      this.#definitions.set(definition.key, definition);
      if (definition.shared && Object.hasOwn(this.#foreign, definition.key)) this.#take({ [definition.key]: this.#foreign[definition.key] });
    }
  }

  /** @returns {Definition[]} */
  list() {
    return [...this.#definitions.values()];
  }

  /** @param {string} key @returns {any} */
  get(key) {
    return Object.hasOwn(this.#values, key) ? this.#values[key] : this.#definitions.get(key)?.default;
  }

  /** Whether the person chose this value. @param {string} key */
  isSet(key) {
    return Object.hasOwn(this.#values, key);
  }

  /** @param {string} key @param {unknown} value */
  set(key, value) {
    this.#take({ [key]: value });
    const { local = false, shared = false } = this.#definitions.get(key) ?? {};
    if (!local) this.#remote?.save(shared ? key : PREFIX + key, value).catch(() => {}); // the browser has it; the server hears of it with the next change
  }

  /** Back to the default. @param {string} key */
  reset(key) {
    this.set(key, this.#definitions.get(key)?.default);
  }

  /** Ask the server what is set there. What it says wins. */
  async load() {
    const all = (await this.#remote?.load()) ?? {};
    this.#foreign = Object.fromEntries(Object.entries(all).filter(([key]) => !key.startsWith(PREFIX)));
    this.#take(Object.fromEntries(Object.entries(all).flatMap(([key, value]) => (key.startsWith(PREFIX) ? [[key.slice(PREFIX.length), value]] : this.#definitions.get(key)?.shared ? [[key, value]] : []))));
  }

  /**
   * @param {string} key
   * @param {(value: any) => void} listener
   * @returns {() => void} stops it
   */
  subscribe(key, listener) {
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** @param {Record<string, unknown>} values */
  #take(values) {
    const changed = Object.keys(values).filter((key) => JSON.stringify(this.get(key)) !== JSON.stringify(values[key]));
    this.#values = { ...this.#values, ...values };
    try {
      this.#storage?.setItem(CACHE, JSON.stringify(this.#values));
    } catch {
      // a full or forbidden storage only costs the quick start
    }
    for (const key of changed) for (const listener of [...(this.#listeners.get(key) ?? [])]) listener(this.get(key));
  }
}

/** @param {string | null} text @returns {Record<string, unknown>} */
function parsed(text) {
  try {
    const value = JSON.parse(text ?? "{}");
    return value && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}
