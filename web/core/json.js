// JSON that keeps integers a double cannot hold (seeds go up to 2^64 - 1) exactly as they were written.

/** Parse text; a too large integer becomes a raw JSON value where the browser can, else the nearest number. */
export function parse(text) {
  return JSON.parse(text, (key, value, context) => {
    const lost = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "");
    return lost && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
  });
}

export function format(value) {
  return JSON.stringify(value, null, 2);
}

/** The text of a value as a person would type it. */
export function text(value) {
  return JSON.isRawJSON?.(value) ? value.rawJSON : String(value);
}
