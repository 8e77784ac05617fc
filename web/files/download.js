// Hand a file to the browser.

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {unknown} json @param {string} name */
export function downloadJson(json, name) {
  download(new Blob([JSON.stringify(json, null, 2)], { type: "application/json" }), name);
}
