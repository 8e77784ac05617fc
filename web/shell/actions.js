// Everything a person can do, by id: menus, the command palette, keys and tests all run the same entries.

/** @typedef {import("../session.js").Session} Session */
/**
 * @typedef {object} Action
 * @property {string} id  such as "edit.undo"
 * @property {string} title  in English; shown in the person's language
 * @property {string} [group]  a heading in lists: "Edit", "View" ...
 * @property {readonly string[]} [keys]  as delivered: "ctrl+shift+z", "delete", "f"; ctrl stands for ⌘ on a Mac
 * @property {boolean} [inText]  its keys also count while a text field has the focus
 * @property {(session: Session) => boolean} [when]  whether it can be done now
 * @property {(session: Session, args?: any) => unknown} run
 */

export class Actions {
  /** @type {Map<string, Action>} */
  #actions = new Map();
  /** @type {Map<string, string> | null} from key to id */
  #byKey = null;
  /** @type {() => Readonly<Record<string, readonly string[]>>} keys the person chose, by id of the action */
  #rebound;
  /** @type {() => Session | null} */
  current = () => null;
  /** What to do with an error of an action. @type {(error: unknown, action: Action) => void} */
  onError = (error) => {
    throw error;
  };

  /** @param {() => Readonly<Record<string, readonly string[]>>} [rebound] */
  constructor(rebound = () => ({})) {
    this.#rebound = rebound;
  }

  /** Add actions, or put others in the place of those with the same id. @param {...Action} actions */
  add(...actions) {
    for (const action of actions) this.#actions.set(action.id, action);
    this.keysChanged();
  }

  /** @param {string} id */
  remove(id) {
    this.#actions.delete(id);
    this.keysChanged();
  }

  /** @param {string} id @returns {Action | undefined} */
  get(id) {
    return this.#actions.get(id);
  }

  /** @returns {Action[]} in the order they were added */
  list() {
    return [...this.#actions.values()];
  }

  /** @param {string} id */
  can(id) {
    const action = this.#actions.get(id);
    const session = this.current();
    return Boolean(action && session && (action.when?.(session) ?? true));
  }

  /**
   * @param {string} id
   * @param {any} [args]
   * @returns {boolean} whether it could be done
   */
  run(id, args) {
    const action = this.#actions.get(id);
    const session = this.current();
    if (!action || !session || !(action.when?.(session) ?? true)) return false;
    try {
      const result = action.run(session, args);
      if (result instanceof Promise) result.catch((error) => this.onError(error, action));
    } catch (error) {
      this.onError(error, action);
    }
    return true;
  }

  /** The keys of an action as they are now. @param {string} id @returns {readonly string[]} */
  keysOf(id) {
    return this.#rebound()[id] ?? this.#actions.get(id)?.keys ?? [];
  }

  /** The action that has a key. @param {string} key @returns {Action | null} */
  withKey(key) {
    if (!this.#byKey) {
      this.#byKey = new Map();
      for (const action of this.#actions.values()) for (const each of this.keysOf(action.id)) if (!this.#byKey.has(each)) this.#byKey.set(each, action.id);
    }
    return this.#actions.get(this.#byKey.get(key) ?? "") ?? null;
  }

  /** Somebody bound keys anew. */
  keysChanged() {
    this.#byKey = null;
  }
}

const NAMED = Object.freeze({ " ": "space", Escape: "escape", ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right", "+": "plus" });

/**
 * The name of a pressed key: "ctrl+shift+z". A letter goes by what is printed on it, whatever shift makes of it.
 * @param {{key: string, code?: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, shiftKey: boolean}} event
 * @returns {string} empty for a key that only modifies others
 */
export function keyName(event) {
  if (["Control", "Shift", "Alt", "Meta", "Dead", "Process", "Unidentified"].includes(event.key)) return "";
  let key = /** @type {Record<string, string>} */ (NAMED)[event.key] ?? event.key.toLowerCase();
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code ?? "");
  if (event.shiftKey && digit) key = digit[1];
  const symbol = key.length === 1 && !/[a-z0-9]/.test(key); // shift is already in the sign it made
  return [event.ctrlKey || event.metaKey ? "ctrl" : "", event.altKey ? "alt" : "", event.shiftKey && !symbol ? "shift" : "", key].filter(Boolean).join("+");
}

/** Whether what is typed there is text. @param {EventTarget | null} target */
export function isTextField(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !["button", "checkbox", "color", "file", "radio", "range", "submit"].includes(target.type);
}

/**
 * The one key listener of the page. Dialogs keep their keys to themselves.
 * @param {Actions} actions
 * @param {Document} [page]
 * @returns {() => void} stops it
 */
export function listenToKeys(actions, page = document) {
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const name = keyName(event);
    const action = name ? actions.withKey(name) : null;
    if (!action) return;
    if (isTextField(event.target) && !action.inText) return;
    if (event.target instanceof Element && event.target.closest("dialog, [data-own-keys]") && !action.inText) return;
    if (event.target instanceof Element && event.target.closest("button, a, summary, [role=tab], [role=menuitem]") && (name === "enter" || name === "space")) return;
    if (!actions.run(action.id)) return;
    event.preventDefault();
  };
  page.addEventListener("keydown", onKey);
  return () => page.removeEventListener("keydown", onKey);
}
