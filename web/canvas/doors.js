// Doors through which what is not part of the editor (the scripts of node packs) adds to what nodes show. Nobody needs to use them.

/** @typedef {import("./face.js").Face} Face */
/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./view.js").NodeView} NodeView */
/** @typedef {import("./scene.js").Item} Item */
/** @typedef {{update?: () => void, destroy: () => void}} Part */

/** Asked for every node that is looked at: the face as it is to be. @type {Set<(document: import("../core/document.js").Document, view: import("../core/graphview.js").GraphView, node: Readonly<import("../core/records.js").NodeRecord>, face: Face) => Face>} */
export const faces = new Set();

/** Asked for every node that becomes elements of the page: something beside its widgets, or null. @type {Set<(view: NodeView, stage: Stage) => Part | null>} */
export const parts = new Set();

/** Asked when the menu of a node opens: entries below the editor's own. @type {Set<(stage: Stage, item: Item) => import("../shell/menu.js").Entry[]>} */
export const menus = new Set();
