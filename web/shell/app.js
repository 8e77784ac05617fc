// Everything the page is made of, put together once by main.js and handed to its parts.

/**
 * @typedef {object} App
 * @property {import("../run/api.js").Api} api
 * @property {import("./settings.js").Settings} settings
 * @property {import("./actions.js").Actions} actions
 * @property {import("../session.js").Shared} shared
 * @property {import("../files/workspace.js").Workspace} workspace
 * @property {import("../files/store.js").Store} store
 * @property {import("../run/centre.js").RunCentre} centre
 * @property {import("../run/queue.js").Queue} queue
 * @property {import("./side.js").Side} side
 * @property {{canvas: CanvasHandle | null}} view
 * @property {(json: unknown, options?: import("../files/workspace.js").OpenOptions) => void} open  a parsed file in a tab, telling what was wrong with it
 */
/**
 * What the shell asks of the canvas of the active workflow.
 * @typedef {object} CanvasHandle
 * @property {() => void} destroy
 * @property {(ids?: readonly (string | number)[]) => void} fit
 * @property {(id: string | number) => void} centre
 * @property {(graph: string, within?: readonly (string | number)[]) => void} enter
 * @property {(x: number, y: number) => readonly [number, number]} toGraph
 * @property {(kind?: "png" | "svg") => Promise<Blob>} picture
 * @property {() => void} definitionsChanged
 * @property {(id: string | number) => void} focus
 */

export {};
