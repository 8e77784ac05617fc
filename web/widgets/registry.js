// The kinds of widgets there are. A kind is a file that registers itself here; packs add theirs through the same door.

/** @typedef {import("../canvas/face.js").FaceWidget} FaceWidget */
/** @typedef {import("../core/definitions.js").InputDefinition} InputDefinition */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../session.js").Session} Session */
/**
 * What a widget gets to work with.
 * @typedef {object} WidgetContext
 * @property {InputDefinition} input
 * @property {string} label
 * @property {unknown} value
 * @property {(value: unknown, options?: {merge?: boolean}) => void} set  change the value; `merge`: one step of the history with the change before (typing, dragging)
 * @property {() => void} seal  ends a row of merged changes
 * @property {string | null} control  how the value changes after a run; null: it has no such control
 * @property {(value: string) => void} setControl
 * @property {boolean} fed  a link gives the value: it is shown, not changed
 * @property {Readonly<NodeRecord>} node
 * @property {Session} session
 * @property {string} id  for elements that name each other
 */
/** @typedef {{update(value: unknown, context: WidgetContext): void, destroy(): void}} Widget */
/**
 * @typedef {object} WidgetKind
 * @property {(host: HTMLElement, context: WidgetContext) => Widget} create  fill `host`, an empty element as wide as the node and as high as `height` says
 * @property {(ctx: CanvasRenderingContext2D, rect: readonly [number, number, number, number], value: unknown, label: string) => void} [paint]  the widget from afar; without it label and value
 * @property {number | ((widget: FaceWidget) => number)} [height]  in graph units
 * @property {boolean | ((widget: FaceWidget) => boolean)} [grows]  takes the room the node has left
 */

const LINE = 20;
/** @type {Map<string, WidgetKind>} */
const kinds = new Map();
/** @type {((input: InputDefinition) => string | null)[]} */
const claims = [];

/**
 * @param {string} name  of the kind; for a kind that shows one input type, that type
 * @param {WidgetKind} kind
 * @param {(input: InputDefinition) => boolean} [shows]  which inputs it shows besides those of that type; the claim made last is asked first
 */
export function register(name, kind, shows) {
  kinds.set(name, kind);
  if (shows) claims.unshift((input) => (shows(input) ? name : null));
}

/**
 * The name of the kind that shows an input.
 * @param {InputDefinition} input
 * @returns {string}
 */
export function kindOf(input) {
  for (const claim of claims) {
    const name = claim(input);
    if (name !== null) return name;
  }
  const type = typeof input.options.widgetType === "string" ? input.options.widgetType : input.type;
  return kinds.has(type) ? type : "STRING";
}

/** @param {string} name @returns {WidgetKind | undefined} */
export function kind(name) {
  return kinds.get(name);
}

/** Input types a widget was registered for. @returns {string[]} */
export function types() {
  return [...kinds.keys()];
}

/** How much room a widget takes. @param {FaceWidget} widget @returns {{height: number, grows: boolean}} */
export function sizeOf(widget) {
  const found = kinds.get(kindOf(widget.input));
  const { height = LINE, grows = false } = found ?? {};
  return { height: typeof height === "function" ? height(widget) : height, grows: typeof grows === "function" ? grows(widget) : grows };
}
