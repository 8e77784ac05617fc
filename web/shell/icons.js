// The page's icons: strokes on a grid of 24, drawn here so that nothing has to be fetched.

/** @type {Readonly<Record<string, string>>} */
const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  run: "M8 5.5v13l10.5-6.5z",
  stop: "M7 7h10v10H7z",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  plus: "M12 5v14M5 12h14",
  down: "M7 10l5 5 5-5",
  up: "M7 14l5-5 5 5",
  queue: "M4 6h16M4 12h10M4 18h7M16 13v6l5-3z",
  gallery: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  files: "M4 6h6l2 2.5h8V19H4z",
  models: "M12 3.5l8 4.3v8.4l-8 4.3-8-4.3V7.8zM4 7.8l8 4.4 8-4.4M12 12.2v8.3",
  templates: "M4 4h7v7H4zM13 4h7v4h-7zM13 10h7v10h-7zM4 13h7v7H4z",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5",
  help: "M9 9.2a3 3 0 1 1 4.3 2.7c-.9.4-1.3 1-1.3 2.1M12 17.5h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  problem: "M12 4l9 16H3zM12 10v4.5M12 17.2h.01",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  load: "M5 4h9l5 5v11H5zM14 4v5h5M9 14h6M12 11v6",
  compare: "M4 5h16v14H4zM12 3v18M8 10l-2 2 2 2M16 10l2 2-2 2",
  history: "M12 8v4.5l3 2M4.5 12a7.5 7.5 0 1 1 2.2 5.3M4 20v-3.2h3.2",
  phone: "M8 3h8v18H8zM11 18h2",
  graph: "M4 6h5v4H4zM15 4h5v4h-5zM15 15h5v4h-5zM9 8h3c3 0 0-2 3-2M9 8c4 0 2 9 6 9",
  form: "M5 4h14v16H5zM8 8h8M8 12h8M8 16h4",
  front: "M12 19V6M6.5 11.5L12 6l5.5 5.5M5 3.5h14",
  drag: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5.5M12 7.6h.01",
  locate: "M12 3v4M12 17v4M3 12h4M17 12h4M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
  folder: "M4 6h6l2 2.5h8V19H4z",
  file: "M6 3.5h8l4 4v13H6zM14 3.5v4h4",
  edit: "M5 19l1-4L16.5 4.5l3 3L9 18z",
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  log: "M4 5h16v14H4zM7 9l3 3-3 3M12.5 15H17",
  nodes: "M4 5h7v6H4zM13 13h7v6h-7zM11 8h3.5a1.5 1.5 0 0 1 1.5 1.5V13",
  outline: "M4 6h3M10 6h10M7 12h3M13 12h7M7 18h3M13 18h7",
  star: "M12 4l2.4 5.2 5.6.7-4.1 3.9 1.1 5.6-5-2.8-5 2.8 1.1-5.6L4 9.9l5.6-.7z",
  bypass: "M4 16h4c4 0 4-8 8-8h4M17 5l3 3-3 3",
  collapse: "M5 6h14v4H5zM9 14h6M12 20v-6M9.5 16.5L12 14l2.5 2.5",
  frame: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M9 9h6v6H9z",
  subgraph: "M4 4h16v16H4zM8 8h3v3H8zM13 13h3v3h-3zM11 9.5h1.5a2 2 0 0 1 2 2V13",
  align: "M4 4v16M8 7h11v3.5H8zM8 13.5h7V17H8z",
  palette: "M12 3.5a8.5 8.5 0 1 0 0 17c1.5 0 2-1 1.4-2.1-.7-1.3 0-2.4 1.6-2.4H17.5a3 3 0 0 0 3-3c0-5-3.8-9.5-8.5-9.5zM7.5 12h.01M10 8h.01M15 8.5h.01",
  bookmark: "M7 4h10v16l-5-4-5 4z",
};

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name @param {number} [size] */
export function icon(name, size = 18) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true", class: "icon" })) svg.setAttribute(key, String(value));
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name] ?? PATHS.file);
  if (name === "run" || name === "stop") path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}
