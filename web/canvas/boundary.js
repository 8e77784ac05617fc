// The two ends of a subgraph on the canvas: what comes in on the left, what goes out on the right. They look like nodes and are none.

import { INPUT_BOUNDARY, ROOT } from "../core/records.js";
import { SLOT, TITLE } from "./layout.js";

/** @typedef {import("../core/records.js").GraphRecord} GraphRecord */
/** @typedef {import("./scene.js").Item} Item */
/** @typedef {import("./face.js").FaceSlot} FaceSlot */

/**
 * @param {Readonly<GraphRecord>} record
 * @param {number} id  INPUT_BOUNDARY or OUTPUT_BOUNDARY
 * @returns {Item | null} null in the root graph
 */
export function boundaryShape(record, id) {
  if (record.id === ROOT) return null;
  const inputs = id === INPUT_BOUNDARY;
  const end = /** @type {{bounding?: readonly number[]} | undefined} */ (/** @type {any} */ (record)[inputs ? "inputNode" : "outputNode"]);
  const [x = 0, y = 0, w = 120] = Array.isArray(end?.bounding) && end.bounding.every((value) => Math.abs(Number(value)) < 1e7) ? end.bounding.map(Number) : [];
  const width = Math.max(120, w);
  const slots = (inputs ? record.inputs : record.outputs) ?? [];
  /** @type {FaceSlot[]} one more, empty: a link dropped there makes a new one */
  const shown = [...slots, { name: "", type: "*", label: "+" }].map((slot, index) => ({
    index, name: slot.name, label: slot.label || slot.name, type: slot.type, tooltip: index === slots.length ? "Drop a link here to add one" : null, optional: false, list: false,
  }));
  const height = 12 + shown.length * SLOT;
  const places = shown.map(({ index }, i) => ({ index, x: inputs ? width : 0, y: 6 + SLOT * (i + 0.5) }));
  const top = y + TITLE;
  return {
    id,
    node: { id, rank$: 0, type: "boundary", pos: [x, top], size: [width, height] },
    face: { kind: "node", title: inputs ? "Inputs" : "Outputs", type: inputs ? "Inputs" : "Outputs", definition: null, inputs: inputs ? [] : shown, outputs: inputs ? shown : [], widgets: [], more: null },
    shape: { width, height, title: TITLE, collapsed: false, inputs: inputs ? [] : places, outputs: inputs ? places : [], widgets: [], more: null, media: null, smallest: [width, height] },
    bounds: [x, y, x + width, top + height],
  };
}
