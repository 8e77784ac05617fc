// Sets of keys to begin with, as changes to the keys the actions come with.

/** @type {readonly {title: string, keys: Readonly<Record<string, readonly string[]>>}[]} */
export const PRESETS = [
  { title: "As delivered", keys: {} },
  {
    title: "Like ComfyUI",
    keys: {
      "run.cancel": ["ctrl+alt+enter"], "run.selected": [], "panel.models": ["m"], "view.minimap": ["alt+m"], "view.focus": ["f"], "view.fitSelection": [], "view.fit": ["."],
      "view.zoomIn": ["alt+="], "view.zoomOut": ["alt+-"], "graph.subgraph": ["ctrl+shift+e"], "graph.swap": [],
    },
  },
]; // prettier-ignore
