// The panels of the rail. Each one's code is fetched when it is first opened.

/** @type {readonly import("./side.js").PanelKind[]} */
export const PANELS = Object.freeze([
  { id: "queue", title: "Queue and history", icon: "queue", key: "q", load: () => import("../run/queue_panel.js") },
  { id: "gallery", title: "Results", icon: "gallery", key: "g", load: () => import("../run/gallery_panel.js") },
  { id: "nodes", title: "Nodes", icon: "nodes", key: "n", load: () => import("./nodes_panel.js") },
  { id: "outline", title: "Outline", icon: "outline", key: "o", load: () => import("./outline_panel.js") },
  { id: "properties", title: "Properties", icon: "edit", key: "i", load: () => import("./properties_panel.js") },
  { id: "files", title: "Workflows", icon: "files", key: "w", load: () => import("../files/files_panel.js") },
  { id: "templates", title: "Templates", icon: "templates", key: "t", load: () => import("../files/templates_panel.js") },
  { id: "models", title: "Models", icon: "models", key: "l", load: () => import("../files/models_panel.js") },
  { id: "problems", title: "Problems", icon: "problem", key: "e", load: () => import("../run/problems_panel.js") },
]);
