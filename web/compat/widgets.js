// Widgets as scripts of node packs know them: objects with a value, a callback and options, in the list `node.widgets`.

import { readControl, readWidgets, withWidget } from "../core/widgets.js";

/** @typedef {import("./node.js").PackNode} PackNode */
/** @typedef {import("../core/widgets.js").WidgetEntry} WidgetEntry */

/** What a script writes here changes how the node looks. */
const LOOKS = new Set(["type", "hidden", "label", "disabled", "computeSize", "computedHeight", "options", "advanced"]);

/** One widget. `entry` is set for those of the node's definition: their value lives in the document. */
export class PackWidget {
  /**
   * @param {PackNode} node
   * @param {{name: string, type: string, value?: unknown, options?: any, callback?: any, entry?: WidgetEntry | null, [more: string]: any}} about
   * @returns {any}
   */
  static create(node, { name, type, value, options, callback, entry = null, ...more }) {
    const widget = new PackWidget(node, entry, value);
    /** @type {any} */
    const open = widget;
    Object.assign(open, { name, type, y: 0, last_y: 0, callback, ...more });
    open.options = new Proxy(options ?? {}, {
      set(target, key, next) {
        target[key] = next;
        node.look();
        return true;
      },
    });
    return new Proxy(open, {
      set(target, key, next) {
        const before = target[key];
        target[key] = next;
        if (LOOKS.has(String(key)) && before !== next) node.look();
        return true;
      },
    });
  }

  /** @type {PackNode} */
  node;
  /** @type {WidgetEntry | null} */
  entry;
  /** A script makes this widget of the definition itself. */
  foreign = false;
  /** @type {HTMLElement | null} */
  field = null;

  /** @param {PackNode} node @param {WidgetEntry | null} entry @param {unknown} value */
  constructor(node, entry, value) {
    this.node = node;
    this.entry = entry;
    /** @type {any} */
    this.own = value;
    for (const hidden of ["node", "entry", "foreign", "field", "own"]) Object.defineProperty(this, hidden, { enumerable: false });
  }

  get value() {
    const { entry, node } = this;
    const definition = node.definition;
    const self = /** @type {any} */ (this);
    if (self.options?.getValue) return self.options.getValue();
    if (!entry || !definition || this.foreign) return this.own;
    return entry.role === "control" ? readControl(node.record, definition, entry.name) : entry.role === "value" ? readWidgets(node.record, definition).get(entry.name) : this.own;
  }

  set value(next) {
    const { entry, node } = this;
    const definition = node.definition;
    const self = /** @type {any} */ (this);
    if (self.options?.setValue) self.options.setValue(next);
    this.own = next;
    if (entry && definition && !this.foreign && (entry.role === "value" || entry.role === "control")) {
      if (JSON.stringify(this.stored) !== JSON.stringify(next)) node.change(`Change ${entry.name}`, (/** @type {any} */ record) => withWidget(record, definition, entry.name, next === undefined ? null : next, /** @type {"value"} */ (entry.role)));
    } else node.keepExtras();
    if (this.field instanceof HTMLTextAreaElement && this.field.value !== next) this.field.value = String(next ?? "");
  }

  /** The value the document holds. */
  get stored() {
    const definition = this.node.definition;
    if (!this.entry || !definition) return this.own;
    return this.entry.role === "control" ? readControl(this.node.record, definition, this.entry.name) : readWidgets(this.node.record, definition).get(this.entry.name);
  }

  /** Scripts that style the text field of a prompt get a real one; from then on the node shows that. */
  get inputEl() {
    const self = /** @type {any} */ (this);
    if (!this.field && (self.type === "customtext" || self.options?.multiline)) this.useField(document.createElement("textarea"));
    return this.field ?? undefined;
  }

  get element() {
    return this.inputEl;
  }

  set element(element) {
    this.field = element ?? null;
    this.node.look();
  }

  /** @param {HTMLTextAreaElement} field */
  useField(field) {
    const self = /** @type {any} */ (this);
    field.className = "pack-text";
    field.value = String(this.value ?? "");
    field.placeholder = self.options?.placeholder ?? self.name;
    field.setAttribute("aria-label", self.label ?? self.name);
    field.addEventListener("input", () => {
      this.value = field.value;
      self.callback?.(field.value);
    });
    this.field = field;
    this.node.look();
  }

  /** @param {unknown} next @param {Record<string, any>} [options] */
  setValue(next, options) {
    this.value = next;
    /** @type {any} */ (this).callback?.(next, options?.canvas, this.node);
  }

  /** @param {Record<string, any>} [_event] */
  onRemove(_event) {}
}

/** Whether a script took a widget away by one of the ways there are. @param {any} widget @param {number} width */
export function isHidden(widget, width) {
  if (widget.hidden || widget.options?.hidden || widget.type === "hidden" || /^converted-widget/.test(String(widget.type))) return true;
  const size = Object.hasOwn(widget, "computeSize") ? widget.computeSize?.(width) : null;
  return Array.isArray(size) && size[1] < 0;
}

/** How the constructors of widgets are called: (node, name, [type, options], app) => {widget}. @type {Record<string, (node: any, name: string, data: any, app?: any) => {widget: any, minWidth?: number, minHeight?: number}>} */
export const ComfyWidgets = {
  INT: (node, name, data) => ({ widget: node.addWidget("number", name, optionsOf(data).default ?? 0, () => {}, { ...optionsOf(data), precision: 0 }) }),
  FLOAT: (node, name, data) => ({ widget: node.addWidget("number", name, optionsOf(data).default ?? 0, () => {}, optionsOf(data)) }),
  BOOLEAN: (node, name, data) => ({ widget: node.addWidget("toggle", name, optionsOf(data).default ?? false, () => {}, { on: optionsOf(data).label_on, off: optionsOf(data).label_off }) }),
  COMBO(node, name, data) {
    const values = Array.isArray(data?.[0]) ? data[0] : (optionsOf(data).options ?? []);
    return { widget: node.addWidget("combo", name, optionsOf(data).default ?? values[0], () => {}, { ...optionsOf(data), values }) };
  },
  STRING(node, name, data) {
    const options = optionsOf(data);
    const widget = node.addWidget(options.multiline ? "customtext" : "text", name, options.default ?? "", () => {}, options);
    if (options.multiline) void widget.inputEl;
    return { widget };
  },
};

/** @param {any} data @returns {any} */
function optionsOf(data) {
  return (Array.isArray(data) ? data[1] : null) ?? {};
}

export const IS_CONTROL_WIDGET = Symbol("control of another widget");

/** @param {any} node @param {any} target @param {string} [start] */
export function addValueControlWidget(node, target, start = "randomize") {
  const widget = node.addWidget("combo", "control_after_generate", start, () => {}, { values: ["fixed", "increment", "decrement", "randomize"], serialize: false });
  widget[IS_CONTROL_WIDGET] = true;
  widget.afterQueued = () => {
    const { min = 0, max = 2 ** 50, step2 = 1 } = target.options ?? {};
    const most = Math.min(max, 2 ** 50);
    if (widget.value === "randomize") target.value = min + Math.floor(Math.random() * (most - min + 1));
    else if (widget.value === "increment") target.value = Math.min(most, Number(target.value) + step2);
    else if (widget.value === "decrement") target.value = Math.max(min, Number(target.value) - step2);
  };
  target.linkedWidgets = [...(target.linkedWidgets ?? []), widget];
  return widget;
}

/** @param {any} node @param {any} target @param {string} [start] */
export function addValueControlWidgets(node, target, start) {
  return [addValueControlWidget(node, target, start)];
}

/** @param {any} _widget */
export function updateControlWidgetLabel(_widget) {}
