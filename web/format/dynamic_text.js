// Texts that are different in every run: {a|b|{c|d}} picks one, comments go. The file keeps what was written.

/**
 * @param {string} text
 * @param {() => number} random  0 up to, not including, 1
 * @returns {string}
 */
export function expandText(text, random) {
  const clean = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
  let at = 0;

  /** @param {boolean} inside  whether `|` and `}` end the part */
  const part = (inside) => {
    let out = "";
    while (at < clean.length) {
      const sign = clean[at];
      if (sign === "\\" && "{}|".includes(clean[at + 1] ?? "none")) {
        out += clean[at + 1];
        at += 2;
      } else if (sign === "{") {
        at++;
        out += choice();
      } else if (inside && (sign === "|" || sign === "}")) break;
      else {
        out += sign;
        at++;
      }
    }
    return out;
  };

  const choice = () => {
    const options = [part(true)];
    while (clean[at] === "|") {
      at++;
      options.push(part(true));
    }
    at++; // the closing brace, or the end of a text that never closes it
    return options[Math.floor(random() * options.length)];
  };

  return part(false);
}
