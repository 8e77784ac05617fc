// Elements made from plain data. Text only ever goes through text nodes and properties, never through markup.

/** @typedef {string | number | Node | null | undefined | false} Child */
/**
 * @typedef {object} Properties
 * @property {string} [class]
 * @property {string} [id]
 * @property {Record<string, string | number | boolean | null | undefined>} [attributes]  set as attributes; null, undefined and false leave one out
 * @property {Record<string, (event: any) => void>} [on]
 * @property {Record<string, unknown>} [set]  set as properties of the element
 */

/**
 * el("button", {class: "quiet", attributes: {"aria-label": "Close"}, on: {click: close}}, icon("close"))
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  if (properties.class) element.className = properties.class;
  if (properties.id) element.id = properties.id;
  for (const [name, value] of Object.entries(properties.attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [name, listener] of Object.entries(properties.on ?? {})) element.addEventListener(name, listener);
  Object.assign(element, properties.set ?? {});
  append(element, children);
  return element;
}

/** @param {Element} element @param {readonly Child[]} children */
export function append(element, children) {
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
}

/**
 * Make the children of an element those of a list, keeping (and so not unfocusing) the ones that are there already.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} [update]
 */
export function keyed(parent, items, key, create, update) {
  /** @type {Map<string, HTMLElement>} */
  const there = new Map();
  for (const child of [...parent.children]) if (child instanceof HTMLElement && child.dataset.key !== undefined) there.set(child.dataset.key, child);
  /** @type {Element | null} */
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = there.get(name);
    if (element) {
      there.delete(name);
      update?.(element, item);
    } else {
      element = create(item);
      element.dataset.key = name;
    }
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  for (const element of there.values()) element.remove();
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

let count = 0;
/** An id no other element of the page has. @param {string} stem */
export const freshId = (stem) => `${stem}-${++count}`;

/** Run a function once per frame however often it is asked for. @param {() => void} draw @returns {() => void} */
export function soon(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    const go = () => {
      if (!due) return;
      due = false;
      draw();
    };
    if (document.hidden) setTimeout(go, 50);
    else requestAnimationFrame(go);
  };
}
