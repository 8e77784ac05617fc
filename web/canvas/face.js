// What a node shows: its title, sockets and widgets, whatever kind of node it is. Read from the records and definitions, nothing is kept.

import { defaultValue, hasControl, inputNamed, readControl, readWidgets, withValueAt, withWidget } from "../core/widgets.js";
import { namesInFile } from "../format/unknown_node.js";
import { isInstance, promotedInputs } from "../format/scope.js";
import { t } from "../shell/i18n.js";
import { INPUT_BOUNDARY } from "../core/records.js";
import { faces } from "./doors.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("../core/records.js").NodeRecord} NodeRecord */
/** @typedef {import("../core/records.js").SlotType} SlotType */
/** @typedef {import("../core/graphview.js").GraphView} GraphView */
/** @typedef {import("../core/document.js").Document} Document */
/** @typedef {import("../core/definitions.js").Definitions} Definitions */
/** @typedef {import("../core/definitions.js").NodeDefinition} NodeDefinition */
/** @typedef {import("../core/definitions.js").InputDefinition} InputDefinition */
/** @typedef {{index: number, name: string, label: string, type: SlotType, tooltip: string | null, optional: boolean, list: boolean}} FaceSlot */
/**
 * @typedef {object} FaceWidget
 * @property {string} name
 * @property {string} label
 * @property {InputDefinition} input
 * @property {unknown} value
 * @property {string | null} control  how the value changes after a run; null: it does not
 * @property {number} socket  the input that stands for it; -1 when there is none yet
 * @property {boolean} fed  a link gives the value
 * @property {boolean} fixed  its value cannot be changed here
 * @property {(node: Readonly<NodeRecord>, value: unknown) => NodeRecord} write
 * @property {((node: Readonly<NodeRecord>, value: string) => NodeRecord) | null} writeControl
 */
/** @typedef {"node" | "ghost" | "subgraph" | "note" | "reroute" | "primitive"} FaceKind */
/**
 * @typedef {object} Face
 * @property {FaceKind} kind
 * @property {string} title
 * @property {string} type  what the node is called where its title says something else
 * @property {NodeDefinition | null} definition
 * @property {readonly FaceSlot[]} inputs  sockets beside those of widgets
 * @property {readonly FaceSlot[]} outputs
 * @property {readonly FaceWidget[]} widgets
 * @property {{count: number, open: boolean} | null} more  widgets that are folded away until asked for
 */

const NOTES = new Set(["Note", "MarkdownNote"]);

/**
 * @param {Document} document
 * @param {GraphView} view
 * @param {Readonly<NodeRecord>} node
 * @param {Definitions} definitions
 * @returns {Face}
 */
export function faceOf(document, view, node, definitions) {
  const instance = isInstance(document, node);
  const definition = instance ? null : definitions.get(node.type);
  /** @type {FaceKind} */
  const kind = instance ? "subgraph" : NOTES.has(node.type) ? "note" : node.type === "Reroute" ? "reroute" : node.type === "PrimitiveNode" ? "primitive" : definition ? "node" : "ghost";
  const type = instance ? String(document.graph(node.type).record.name ?? "Subgraph") : definition?.title ?? (node.type === "PrimitiveNode" ? "Primitive" : node.type === "MarkdownNote" ? "Note" : node.type);
  const all = widgetsOf(kind, document, view, node, definition, definitions);
  const rare = kind === "node" ? all.filter((widget) => widget.input.options.advanced === true && !widget.fed) : [];
  const open = node.showAdvanced === true;
  const widgets = (rare.length && !open ? all.filter((widget) => !rare.includes(widget)) : all).filter((widget) => widget.input.options.hidden !== true || widget.fed);
  const shown = new Set(all.map((widget) => widget.name));
  /** @type {Face} */
  let face = {
    kind,
    title: node.title || type,
    type,
    definition,
    inputs: (node.inputs ?? []).flatMap((slot, index) => {
      if (slot.widget && shown.has(slot.widget.name)) return [];
      const input = definition ? inputNamed(node, definition, slot.name) : undefined;
      return [{ index, name: slot.name, label: slot.label || shortName(slot.name, input, definition), type: slot.type, tooltip: tip(input), optional: input ? !input.required : false, list: false }];
    }),
    outputs: (node.outputs ?? []).map((slot, index) => {
      const output = definition?.outputs[index];
      return { index, name: slot.name, label: slot.label || slot.name || String(slot.type), type: slot.type, tooltip: output?.tooltip ?? null, optional: false, list: output?.isList ?? false };
    }),
    widgets,
    more: rare.length ? { count: rare.length, open } : null,
  };
  for (const change of faces) face = change(document, view, node, face);
  return face;
}

/** What an input is called on its node: one that came with a choice, or is one of a row, without the name of those. @param {string} name @param {InputDefinition | undefined} input @param {NodeDefinition | null} definition */
function shortName(name, input, definition) {
  return input && (input.grows || !definition?.inputs.includes(input)) ? name.slice(name.indexOf(".") + 1) : name;
}

/** What the switch for rarely needed widgets says. @param {Face} face */
export function moreWords({ more }) {
  return more?.open ? t("Fewer settings") : t("More settings ({n})", { n: more?.count ?? 0 });
}

/** @param {InputDefinition | undefined} input */
function tip(input) {
  return typeof input?.options.tooltip === "string" ? input.options.tooltip : null;
}

/**
 * @param {FaceKind} kind
 * @param {Document} document
 * @param {GraphView} view
 * @param {Readonly<NodeRecord>} node
 * @param {NodeDefinition | null} definition
 * @param {Definitions} definitions
 * @returns {FaceWidget[]}
 */
function widgetsOf(kind, document, view, node, definition, definitions) {
  /** @param {string} name */
  const socketOf = (name) => (node.inputs ?? []).findIndex((slot) => slot.widget?.name === name);
  /** @param {string} name @param {InputDefinition} input @param {unknown} value @param {Pick<FaceWidget, "write"> & Partial<FaceWidget>} more @returns {FaceWidget} */
  const widget = (name, input, value, more) => {
    const socket = socketOf(name);
    const slot = node.inputs?.[socket];
    const label = slot?.label || (typeof input.options.display_name === "string" ? input.options.display_name : "") || (kind === "node" ? shortName(name, input, definition) : name);
    return { name, label, input, value, control: null, socket, fed: socket >= 0 && view.linked.input(node.id, socket) !== undefined, fixed: false, writeControl: null, ...more };
  };
  if (kind === "node" && definition) {
    return [...readWidgets(node, definition)].map(([name, value]) => {
      const input = /** @type {InputDefinition} */ (inputNamed(node, definition, name));
      const controlled = hasControl(input);
      return widget(name, input, value, {
        control: controlled ? readControl(node, definition, name) : null,
        write: (from, next) => withWidget(from, definition, name, next),
        writeControl: controlled ? (from, next) => withWidget(from, definition, name, next, "control") : null,
      });
    });
  }
  if (kind === "subgraph") {
    const inner = document.graph(node.type);
    return promotedInputs(inner).map((slot, at) => {
      const name = inner.record.inputs?.[slot]?.name ?? "";
      const found = innerWidget(document, inner, slot, definitions);
      const held = heldBy(node, name, at);
      return widget(name, found?.input ?? textInput(name), held ?? found?.value ?? "", { write: (from, next) => withHeld(from, name, at, next) });
    });
  }
  const values = node.widgets_values ?? [];
  if (kind === "note") {
    const input = { ...textInput("text"), type: node.type === "MarkdownNote" ? "MARKDOWN" : "STRING" };
    return [widget("text", input, Array.isArray(values) ? values[0] ?? "" : "", { label: "Note", write: (from, next) => withValueAt(from, 0, next) })];
  }
  if (kind === "primitive") {
    const target = primitiveTarget(view, node, definitions);
    if (!Array.isArray(values) || (!values.length && !target)) return [];
    const input = target ?? guess("value", values[0]);
    return [
      widget("value", input, values[0] ?? defaultValue({ role: "value", name: "value", input }), {
        label: target?.name ?? "value",
        control: typeof values[1] === "string" && hasControl({ ...input, options: { ...input.options, control_after_generate: true } }) ? values[1] : null,
        write: (from, next) => withValueAt(from, 0, next),
        writeControl: (from, next) => withValueAt(from.widgets_values && Array.isArray(from.widgets_values) && from.widgets_values.length ? from : withValueAt(from, 0, 0), 1, next),
      }),
    ];
  }
  if (kind === "ghost") {
    const names = [...(namesInFile(node)?.keys() ?? [])];
    if (!Array.isArray(values)) return Object.entries(values).map(([name, value]) => widget(name, guess(name, value), value, { write: (from, next) => withValueAt(from, name, next) }));
    const named = names.length === values.length;
    return values.map((value, i) => widget(named ? names[i] : `value ${i + 1}`, guess(named ? names[i] : `value ${i + 1}`, value), value, { write: (from, next) => withValueAt(from, i, next) }));
  }
  return [];
}

/** @param {string} name @returns {InputDefinition} */
function textInput(name) {
  return { name, type: "STRING", options: { multiline: true }, choices: null, required: true, widget: true };
}

/** What a value without a definition is edited as. @param {string} name @param {unknown} value @returns {InputDefinition} */
function guess(name, value) {
  const type = typeof value === "number" ? (Number.isInteger(value) ? "INT" : "FLOAT") : typeof value === "boolean" ? "BOOLEAN" : typeof value === "string" ? "STRING" : "JSON";
  const options = typeof value === "string" && (value.includes("\n") || value.length > 60) ? { multiline: true } : { control_after_generate: false };
  return { name, type, options, choices: null, required: true, widget: true };
}

/**
 * The widget inside a subgraph that one of its inputs shows.
 * @param {Document} document
 * @param {GraphView} graph  of the definition
 * @param {number} slot
 * @param {Definitions} definitions
 * @param {number} [depth]
 * @returns {{input: InputDefinition, value: unknown} | null}
 */
export function innerWidget(document, graph, slot, definitions, depth = 0) {
  if (depth > 20) return null;
  for (const link of graph.linked.output(INPUT_BOUNDARY, slot)) {
    const node = graph.nodes.get(link.to);
    const name = node?.inputs?.[link.toSlot]?.widget?.name;
    if (!node || name === undefined) continue;
    if (isInstance(document, node)) {
      const child = document.graph(node.type);
      const at = (child.record.inputs ?? []).findIndex((each) => each.name === name);
      const found = at < 0 ? null : innerWidget(document, child, at, definitions, depth + 1);
      const held = heldBy(node, name, promotedInputs(child).indexOf(at));
      return found && { input: found.input, value: held ?? found.value };
    }
    const definition = definitions.get(node.type);
    const input = definition ? inputNamed(node, definition, name) : undefined;
    if (definition && input) return { input, value: readWidgets(node, definition).get(name) };
    return null;
  }
  return null;
}

/** @param {Readonly<NodeRecord>} node @param {string} name @param {number} at */
function heldBy(node, name, at) {
  const values = node.widgets_values;
  if (node.widgets_values_named && Object.hasOwn(node.widgets_values_named, name)) return node.widgets_values_named[name];
  if (Array.isArray(values)) return at >= 0 ? values[at] : undefined;
  return /** @type {Record<string, unknown>} */ (values ?? {})[name];
}

/**
 * An instance that holds a value for an input of its subgraph.
 * @param {Readonly<NodeRecord>} node
 * @param {string} name
 * @param {number} at  its place among the promoted inputs
 * @param {unknown} value
 * @returns {NodeRecord}
 */
function withHeld(node, name, at, value) {
  const held = node.widgets_values ?? [];
  const named = node.widgets_values_named ? { widgets_values_named: { ...node.widgets_values_named, [name]: value } } : {};
  if (!Array.isArray(held)) return { ...node, widgets_values: { ...held, [name]: value }, ...named };
  const values = [...held];
  while (values.length < at) values.push(null); // null leaves the inner value alone
  values[at] = value;
  return { ...node, widgets_values: values, ...named };
}

/**
 * What a primitive stands for: the first widget it feeds.
 * @param {GraphView} view
 * @param {Readonly<NodeRecord>} node
 * @param {Definitions} definitions
 * @returns {InputDefinition | null}
 */
function primitiveTarget(view, node, definitions) {
  for (const link of view.linked.output(node.id, 0)) {
    const target = view.nodes.get(link.to);
    const slot = target?.inputs?.[link.toSlot];
    const name = slot?.widget?.name ?? slot?.name;
    const input = target && definitions.get(target.type)?.inputs.find((each) => each.name === name);
    if (input) return input;
  }
  return null;
}
