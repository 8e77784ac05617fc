// Where the parts of a node lie, in graph units from the upper left corner of its body. The painter, the page's elements, hit tests and
// links all measure with this one rule. `pos` and `size` of a record mean the body; the title lies above it, as in every file of this kind.

/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("./face.js").Face} Face */
/** @typedef {import("./face.js").FaceWidget} FaceWidget */
/** @typedef {{height: number, grows: boolean}} WidgetSize */
/** @typedef {(widget: FaceWidget) => WidgetSize} Measure */
/** @typedef {{index: number, x: number, y: number}} Socket */
/** @typedef {{y: number, height: number}} Row */
/**
 * @typedef {object} Shape
 * @property {number} width
 * @property {number} height  of the body; 0 when collapsed
 * @property {number} title  height of the title above the body
 * @property {boolean} collapsed
 * @property {readonly Socket[]} inputs  by place among the inputs of the face
 * @property {readonly Socket[]} outputs
 * @property {readonly Row[]} widgets
 * @property {Row | null} more  the switch that unfolds widgets
 * @property {Row | null} media  room for pictures
 * @property {readonly [number, number]} smallest  the body needs this much
 */

export const TITLE = 30;
export const SLOT = 20;
export const GAP = 4;
export const LINE = 20;
const EDGE = 6;
const NARROWEST = 120;
const MEDIA = 160;

/**
 * @param {Readonly<NodeRecord>} node
 * @param {Face} face
 * @param {Measure} measure
 * @param {boolean} media  whether the node shows pictures now
 * @returns {Shape}
 */
export function layoutOf(node, face, measure, media) {
  if (face.kind === "reroute") return rerouteShape(face);
  const width = Math.max(NARROWEST, node.size[0]);
  const rows = Math.max(face.inputs.length, face.outputs.length);
  const sizes = face.widgets.map(measure);
  const top = rows ? EDGE + rows * SLOT : EDGE;
  const needed = top + sizes.reduce((sum, { height }) => sum + height + GAP, 0) + (face.more ? LINE : 0) + EDGE;
  const least = needed + (media ? MEDIA : 0);
  if (node.flags?.collapsed === true) return collapsedShape(face, Math.min(width, 60 + 7.5 * face.title.length));
  const height = Math.max(least, node.size[1]);
  const growing = sizes.filter(({ grows }) => grows).length;
  const spare = media && !growing ? 0 : height - least;
  let y = top;
  const widgets = sizes.map(({ height: own, grows }) => {
    const row = { y, height: own + (grows && growing ? spare / growing : 0) };
    y += row.height + GAP;
    return row;
  });
  const more = face.more ? { y, height: LINE } : null;
  if (more) y += LINE;
  return {
    width,
    height,
    title: TITLE,
    collapsed: false,
    inputs: face.inputs.map(({ index }, i) => ({ index, x: 0, y: EDGE + SLOT * (i + 0.5) })),
    outputs: face.outputs.map(({ index }, i) => ({ index, x: width, y: EDGE + SLOT * (i + 0.5) })),
    widgets,
    more,
    media: media ? { y, height: Math.max(MEDIA - EDGE, height - y - EDGE) } : null,
    smallest: [NARROWEST, least],
  };
}

/** @param {Face} face @param {number} width @returns {Shape} */
function collapsedShape(face, width) {
  const y = -TITLE / 2;
  return {
    width: Math.max(80, width), height: 0, title: TITLE, collapsed: true, widgets: [], more: null, media: null, smallest: [80, 0],
    inputs: face.inputs.map(({ index }) => ({ index, x: 0, y })),
    outputs: face.outputs.map(({ index }) => ({ index, x: Math.max(80, width), y })),
  };
}

/** A dot with two ends. @param {Face} face @returns {Shape} */
function rerouteShape(face) {
  return {
    width: 75, height: 26, title: 0, collapsed: false, widgets: [], more: null, media: null, smallest: [75, 26],
    inputs: face.inputs.map(({ index }) => ({ index, x: 0, y: 13 })),
    outputs: face.outputs.map(({ index }) => ({ index, x: 75, y: 13 })),
  };
}

/**
 * Where a link meets an input, by its place in the record: a socket of its own, or the row of its widget.
 * @param {Face} face
 * @param {Shape} shape
 * @param {number} index
 * @returns {readonly [number, number]}
 */
export function inputPlace(face, shape, index) {
  const socket = shape.inputs.find((each) => each.index === index);
  if (socket) return [socket.x, socket.y];
  if (shape.collapsed) return [0, -TITLE / 2];
  const row = shape.widgets[face.widgets.findIndex((widget) => widget.socket === index)];
  return row ? [0, row.y + Math.min(row.height, LINE) / 2] : [0, shape.height / 2];
}

/** @param {Shape} shape @param {number} index @returns {readonly [number, number]} */
export function outputPlace(shape, index) {
  const socket = shape.outputs.find((each) => each.index === index);
  return socket ? [socket.x, socket.y] : [shape.width, shape.collapsed ? -TITLE / 2 : shape.height / 2];
}
