// What a graph is made of. Records are plain JSON, frozen to the bottom, and replaced as a whole when something changes.
//
// A record is the object the file holds, unknown keys included, with these differences: positions and sizes are arrays, the links of
// a slot live in the link table only (never twice), and `rank$` keeps the order in the file (and which node lies on top).

/** @typedef {number | string} Id */
/** @typedef {string | number | readonly unknown[]} SlotType */
/** @typedef {readonly [number, number]} Point */
/** @typedef {readonly [number, number, number, number]} Box  x, y, width, height */
/** @typedef {"graph" | "nodes" | "links" | "groups" | "reroutes" | "floating"} Table */

/**
 * @typedef {object} InputSlot
 * @property {string} name
 * @property {SlotType} type
 * @property {string} [label]
 * @property {{readonly name: string}} [widget]  the widget this socket stands for
 */
/**
 * @typedef {object} OutputSlot
 * @property {string} name
 * @property {SlotType} type
 * @property {string} [label]
 */
/** @typedef {readonly unknown[] | Readonly<Record<string, unknown>> | null} WidgetValues  by position, or by name (some packs) */

/**
 * @typedef {object} NodeRecord
 * @property {Id} id
 * @property {number} rank$
 * @property {string} type
 * @property {Point} pos
 * @property {Point} size
 * @property {number} [mode]  0 runs, 2 muted, 4 bypassed
 * @property {string} [title]
 * @property {Readonly<Record<string, unknown>>} [flags]
 * @property {readonly Readonly<InputSlot>[]} [inputs]
 * @property {readonly Readonly<OutputSlot>[]} [outputs]
 * @property {Readonly<Record<string, unknown>>} [properties]
 * @property {WidgetValues} [widgets_values]
 * @property {Readonly<Record<string, unknown>>} [widgets_values_named]
 * @property {string} [color]
 * @property {string} [bgcolor]
 * @property {number} [shape]  1 square, 2 round (as without it), 4 round at two corners
 * @property {boolean} [showAdvanced]  its rarely needed widgets are unfolded
 */
/**
 * A link from output `fromSlot` of node `from` to input `toSlot` of node `to`. In a subgraph, -10 and -20 are its own inputs and outputs.
 * @typedef {object} LinkRecord
 * @property {Id} id
 * @property {number} rank$
 * @property {Id} from
 * @property {number} fromSlot
 * @property {Id} to
 * @property {number} toSlot
 * @property {SlotType} type
 * @property {Id} [parentId]  the last reroute it passes
 */
/**
 * @typedef {object} GroupRecord
 * @property {Id} id
 * @property {number} rank$
 * @property {string} title
 * @property {Box} bounding
 * @property {string} [color]
 */
/**
 * @typedef {object} RerouteRecord
 * @property {Id} id
 * @property {number} rank$
 * @property {Point} pos
 * @property {Id} [parentId]  the reroute before it
 */
/** @typedef {{id: Id, rank$: number}} FloatingRecord  a link with one end; kept as it is in the file */
/** @typedef {{id?: string, name: string, type: SlotType, label?: string}} BoundarySlot  an input or output of a subgraph */
/**
 * The graph itself: the root, or the definition of a subgraph. All keys of the file but its lists.
 * @typedef {object} GraphRecord
 * @property {Id} id
 * @property {number} rank$
 * @property {number} [version]
 * @property {string} [name]
 * @property {readonly Readonly<BoundarySlot>[]} [inputs]
 * @property {readonly Readonly<BoundarySlot>[]} [outputs]
 * @property {number} [last_node_id]
 * @property {number} [last_link_id]
 * @property {Readonly<Record<string, unknown>>} [state]
 * @property {Readonly<Record<string, unknown>>} [config]
 * @property {Readonly<Record<string, unknown>>} [extra]
 * @property {readonly unknown[]} [unclaimed$]  links of the file that no input names; without effect, written back
 */
/** @typedef {NodeRecord | LinkRecord | GroupRecord | RerouteRecord | FloatingRecord | GraphRecord} AnyRecord */

/**
 * One record before and after; `undefined` where there is none. Swapped, it is its own inverse.
 * @typedef {object} Patch
 * @property {string} graph
 * @property {Table} table
 * @property {Id} id
 * @property {Readonly<AnyRecord> | undefined} before
 * @property {Readonly<AnyRecord> | undefined} after
 */

/** The name of the root graph among the graphs of a document. */
export const ROOT = "root";
/** Node ids that stand for the inputs and the outputs of the subgraph a link is in. */
export const INPUT_BOUNDARY = -10;
export const OUTPUT_BOUNDARY = -20;

export const ALWAYS = 0;
export const MUTED = 2;
export const BYPASSED = 4;

/**
 * Freeze a JSON value to the bottom. What is frozen already is taken to be frozen to the bottom, so a changed record costs only its new parts.
 * @template T
 * @param {T} value
 * @returns {T}
 */
export function freeze(value) {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const key in value) {
    const part = value[key];
    if (typeof part === "object" && part !== null) freeze(part);
  }
  return value;
}
