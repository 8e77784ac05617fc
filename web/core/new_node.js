// A fresh node of a type.

import { defaultValues, inputsFor, layoutFor, socketsFor } from "./widgets.js";

/** @typedef {import("./records.js").Id} Id */
/** @typedef {import("./records.js").NodeRecord} NodeRecord */
/** @typedef {import("./definitions.js").NodeDefinition} NodeDefinition */

const SLOT = 20;
const WIDGET = 24;
const TEXT = 120;
const UPLOADS = ["image_upload", "animated_image_upload", "video_upload", "audio_upload"];

/**
 * Sockets for the inputs that have no widget (a widget gets one when it is linked), default values, a size that fits.
 * @param {Id} id
 * @param {number} rank
 * @param {string} type
 * @param {NodeDefinition | null} definition  null: a node nobody knows, without sockets and values
 * @returns {NodeRecord}
 */
export function newNode(id, rank, type, definition) {
  const inputs = definition ? inputsFor({}, definition).flatMap(socketsFor) : [];
  const outputs = (definition?.outputs ?? []).map(({ name, type: slot }) => ({ name, type: slot }));
  return {
    id,
    rank$: rank,
    type: definition?.type ?? type,
    pos: [0, 0],
    size: naturalSize(definition),
    flags: {},
    mode: 0,
    inputs,
    outputs,
    properties: { "Node name for S&R": definition?.type ?? type },
    ...(definition ? { widgets_values: defaultValues(definition) } : {}),
  };
}

/**
 * @param {NodeDefinition | null} definition
 * @returns {[number, number]}
 */
function naturalSize(definition) {
  if (!definition) return [210, 60];
  const sockets = Math.max(inputsFor({}, definition).flatMap(socketsFor).length, definition.outputs.length);
  const texts = definition.inputs.filter((input) => input.widget && input.options.multiline === true).length;
  const shown = definition.inputs.filter(({ type, options }) => type === "WEBCAM" || type === "AUDIO_RECORD" || UPLOADS.some((key) => options[key] === true)).length;
  const widgets = layoutFor({}, definition).length - texts;
  return [texts ? 400 : widgets ? 315 : 210, 10 + sockets * SLOT + widgets * WIDGET + (texts + shown) * TEXT];
}
