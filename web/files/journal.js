// What is open, kept in the browser a moment after every change: a crash, a reload or a lost server costs nothing.

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} window  which page of the browser has it open
 * @property {number} order  of the tabs
 * @property {boolean} active
 * @property {string | null} path  on the server
 * @property {string} name
 * @property {string | null} version  of the file when it was read or written last
 * @property {number} at  ms since 1970
 * @property {import("../core/document.js").Kept} kept
 */

const NAME = "emulsion";
const STORE = "tabs";

/** Resolves to null where the browser has no database (private windows of some). @returns {Promise<Journal | null>} */
export async function openJournal() {
  try {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    return new Journal(/** @type {IDBDatabase} */ (await done(request)));
  } catch {
    return null;
  }
}

export class Journal {
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  /** @param {Entry} entry */
  async put(entry) {
    const store = this.#store("readwrite");
    const putting = done(store.put(entry));
    store.transaction.commit?.(); // at once: the page may be going
    await putting;
  }

  /** @param {string} key */
  async delete(key) {
    await done(this.#store("readwrite").delete(key));
  }

  /** @returns {Promise<Entry[]>} */
  async all() {
    return done(this.#store("readonly").getAll());
  }

  /** @param {IDBTransactionMode} mode */
  #store(mode) {
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * A name for this page of the browser that a reload keeps and a second page does not share.
 * @returns {Promise<{name: string, isAlive: (name: string) => Promise<boolean>}>}
 */
export async function claimWindow() {
  const kept = sessionStorage.getItem("emulsion.window");
  const fresh = () => Math.random().toString(36).slice(2);
  if (!navigator.locks) {
    const name = kept ?? fresh();
    sessionStorage.setItem("emulsion.window", name);
    return { name, isAlive: async () => false };
  }
  let name = kept ?? fresh();
  if (!(await hold(name))) {
    name = fresh(); // a copied tab brings the storage of the first one along
    await hold(name);
  }
  sessionStorage.setItem("emulsion.window", name);
  return {
    name,
    isAlive: async (other) => ((await navigator.locks.query()).held ?? []).some((lock) => lock.name === `emulsion-window-${other}`),
  };
}

/** @param {string} name @returns {Promise<boolean>} whether the name is ours until the page goes */
function hold(name) {
  return new Promise((resolve) => {
    navigator.locks.request(`emulsion-window-${name}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : undefined;
    });
  });
}
