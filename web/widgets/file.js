// Values as the server names files: "folder/name.png [output]".

/** @param {unknown} value @param {string} [folder]  where it is when the value does not say @returns {{filename: string, subfolder: string, type: string}} */
export function fileOf(value, folder = "input") {
  const [, path, type] = /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(String(value ?? "")) ?? ["", "", ""];
  const cut = path.lastIndexOf("/");
  return { filename: path.slice(cut + 1), subfolder: cut < 0 ? "" : path.slice(0, cut), type: type || folder };
}
