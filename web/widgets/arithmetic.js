// Sums typed into number fields: + - * / % ^ and brackets. A reader of its own, so that nothing typed is ever run.

/**
 * @param {string} text
 * @returns {number | null} null when it is no sum
 */
export function calculate(text) {
  const parts = text.replaceAll(",", ".").match(/\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|[-+*/%^()]|\S/gi) ?? [];
  let at = 0;
  /** @returns {number} */
  const value = () => {
    const part = parts[at++];
    if (part === "-") return -power();
    if (part === "+") return power();
    if (part === "(") {
      const inside = sum();
      if (parts[at++] !== ")") return NaN;
      return inside;
    }
    return part !== undefined && /^[\d.]/.test(part) ? Number(part) : NaN;
  };
  /** @returns {number} */
  const power = () => {
    const base = value();
    if (parts[at] !== "^") return base;
    at++;
    return base ** power();
  };
  const product = () => {
    let result = power();
    for (let sign = parts[at]; sign === "*" || sign === "/" || sign === "%"; sign = parts[at]) {
      at++;
      const right = power();
      result = sign === "*" ? result * right : sign === "/" ? result / right : result % right;
    }
    return result;
  };
  const sum = () => {
    let result = product();
    for (let sign = parts[at]; sign === "+" || sign === "-"; sign = parts[at]) {
      at++;
      result = sign === "+" ? result + product() : result - product();
    }
    return result;
  };
  if (!parts.length || parts.length > 200) return null;
  const result = sum();
  return at === parts.length && Number.isFinite(result) ? result : null;
}
