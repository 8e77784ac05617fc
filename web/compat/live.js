// Values of the document as scripts expect them: plain objects and arrays that can be written to. Every write is an edit.

/**
 * @param {any} value
 * @returns {any}
 */
export function copy(value) {
  try {
    return structuredClone(value);
  } catch {
    return JSON.parse(JSON.stringify(value ?? null)); // functions cannot be kept in a file
  }
}

/**
 * A copy of a frozen value whose every change is handed on.
 * @param {any} value
 * @param {(value: any) => void} write  takes the whole value after a change
 * @returns {any}
 */
export function live(value, write) {
  const root = copy(value);
  /** @type {WeakMap<object, object>} */
  const seen = new WeakMap();
  /** @param {any} target @returns {any} */
  const wrap = (target) => {
    if (typeof target !== "object" || target === null) return target;
    const known = seen.get(target);
    if (known) return known;
    const proxy = new Proxy(target, {
      get: (each, key, receiver) => wrap(Reflect.get(each, key, receiver)),
      set(each, key, next) {
        if (each[key] === next) return true;
        each[key] = next;
        write(copy(root));
        return true;
      },
      deleteProperty(each, key) {
        if (!(key in each)) return true;
        delete each[key];
        write(copy(root));
        return true;
      },
    });
    seen.set(target, proxy);
    return proxy;
  };
  return wrap(root);
}
