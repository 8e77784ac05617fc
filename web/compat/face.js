// What scripts of node packs add to nodes on screen: their widgets, their drawing, their mouse, their menu entries.

import { faces, menus, parts } from "../canvas/doors.js";
import { TITLE } from "../canvas/layout.js";
import { register } from "../widgets/registry.js";
import { ContextMenu, entriesOf } from "./litegraph.js";
import { isHidden } from "./widgets.js";

/** @typedef {import("../canvas/face.js").FaceWidget} FaceWidget */
/** @typedef {import("./host.js").Host} Host */

const LINE = 20;
const AROUND = 40;

/** @param {(document: import("../core/document.js").Document) => Host | null} hostOf  of a document that scripts know */
export function openDoors(hostOf) {
  faces.add((document, view, record, face) => {
    const node = hostOf(document)?.graph(view.name).byId.get(record.id);
    if (!node || face.kind === "note" || face.kind === "reroute" || face.kind === "primitive" || face.kind === "subgraph" || (face.kind === "ghost" && !node.widgets.length)) return face;
    const width = record.size[0];
    const natives = new Map(face.widgets.map((widget) => [widget.name, widget]));
    const named = new Set(node.widgets.map((/** @type {any} */ widget) => widget.name));
    return {
      ...face,
      widgets: node.widgets.flatMap((/** @type {any} */ widget) => {
        const native = natives.get(widget.name);
        const folded = widget.entry && !widget.foreign && !native; // rarely needed, and not asked for
        const own = folded || widget.entry?.role === "control" || isHidden(widget, width) ? null : faceOf(node, widget, native);
        const brought = face.widgets.filter(({ name }) => name.startsWith(`${widget.name}.`) && !named.has(name)); // by what was chosen
        return own ? [own, ...brought] : brought;
      }),
    };
  });
  parts.add((view, stage) => {
    const node = hostOf(stage.session.document)?.graph(stage.scene.graph).byId.get(view.item.id);
    return node ? drawingOf(node, view, stage) : null;
  });
  menus.add((stage, item) => {
    const host = hostOf(stage.session.document);
    const node = host?.graph(stage.scene.graph).byId.get(item.id);
    if (!host || !node) return [];
    /** @type {any[]} */
    const options = [];
    const more = host.app.guard(() => node.getExtraMenuOptions?.(host.app.canvas, options)) ?? [];
    const fromHooks = host.app.extensions.flatMap((/** @type {any} */ each) => host.app.guard(() => each.getNodeMenuItems?.(node)) ?? []);
    const all = [...options, ...(Array.isArray(more) ? more : []), ...fromHooks];
    return all.length ? [null, ...entriesOf(all, { node, extra: node })] : [];
  });
}

/** @param {any} node @param {any} widget @param {FaceWidget | undefined} native @returns {FaceWidget | null} */
function faceOf(node, widget, native) {
  const own = widget.field || widget.isDOM || typeof widget.draw === "function";
  if (native && !own && !widget.foreign) {
    const values = widget.options?.values;
    const choices = typeof values === "function" ? node.graph.host.app.guard(() => values(widget, node)) : values;
    const label = widget.label ?? native.label;
    if (label === native.label && (!Array.isArray(choices) || same(choices, native.input.choices))) return native;
    return { ...native, label, input: { ...native.input, choices: Array.isArray(choices) ? choices : native.input.choices } };
  }
  const type = own ? (widget.field ? "PACK_ELEMENT" : "PACK_DRAWN") : widget.type === "button" ? "PACK_BUTTON" : (PLAIN[widget.type] ?? "STRING");
  const options = { ...widget.options, pack: widget, ...(type === "INT" || type === "FLOAT" ? { step: (widget.options?.step ?? 10) / 10, ...(widget.options?.step2 ? { step: widget.options.step2 } : {}) } : {}), control_after_generate: false };
  const values = widget.options?.values;
  const listed = typeof values === "function" ? node.graph.host.app.guard(() => values(widget, node)) : values;
  const choices = type === "COMBO" ? (Array.isArray(listed) ? listed : Object.keys(listed ?? {})) : null;
  const input = { name: widget.name, type: type === "INT" && widget.options?.precision !== 0 ? "FLOAT" : type, options, choices, required: false, widget: true };
  const socket = native?.socket ?? -1;
  return {
    name: String(widget.name), label: String(widget.label ?? widget.name ?? ""), input, value: widget.value, control: null, socket, fed: native?.fed ?? false, fixed: false, writeControl: null,
    write(record, value) {
      const { host } = node.graph;
      queueMicrotask(() =>
        host.deed(`Change ${widget.name}`, () => {
          const before = widget.value;
          widget.value = value;
          widget.callback?.(value, host.app.canvas, node, node.pos, {});
          node.onWidgetChanged?.(widget.name, value, before, widget);
          node.keepExtras();
          node.look();
        }),
      );
      return record;
    },
  };
}

/** Kinds of the editor for what scripts call their widgets. @type {Readonly<Record<string, string>>} */
const PLAIN = { number: "INT", slider: "INT", knob: "INT", combo: "COMBO", text: "STRING", string: "STRING", toggle: "BOOLEAN", customtext: "STRING" };

/** @param {readonly unknown[]} a @param {readonly unknown[] | null} b */
function same(a, b) {
  return b !== null && a.length === b.length && a.every((each, i) => each === b[i]);
}

/** @param {FaceWidget} face @returns {any} */
const packOf = (face) => face.input.options.pack;

/** The height a script asks for. @param {any} widget @param {number} usual */
function heightOf(widget, usual) {
  const { node } = widget;
  const width = node?.size?.[0] ?? 210;
  const asked = Number(widget.options?.getHeight?.() ?? widget.options?.getMinHeight?.() ?? widget.computeLayoutSize?.(node)?.minHeight ?? (typeof widget.computeSize === "function" ? widget.computeSize(width)?.[1] : undefined));
  return Number.isFinite(asked) && asked > 0 ? Math.min(asked, 2000) : usual;
}

register("PACK_BUTTON", {
  create(host, context) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pack-button";
    host.append(button);
    button.addEventListener("click", () => {
      const { node } = packOf(/** @type {any} */ (context));
      const pack = packOf(/** @type {any} */ (context));
      node.graph.host.deed(String(pack.label ?? pack.name), () => pack.callback?.(pack, node.graph.host.app.canvas, node, node.pos, {}));
    });
    return { update: () => (button.textContent = context.label), destroy() {} };
  },
});

register("PACK_ELEMENT", {
  height: (face) => heightOf(packOf(face), 60),
  grows: (face) => !packOf(face).options?.getHeight && !packOf(face).options?.getMaxHeight,
  create(host, context) {
    const shown = () => {
      const { field } = packOf(/** @type {any} */ (context));
      if (field && field.parentElement !== host) host.replaceChildren(field);
    };
    host.classList.add("pack-element");
    shown();
    return { update: shown, destroy: () => host.replaceChildren() };
  },
});

register("PACK_DRAWN", {
  height: (face) => heightOf(packOf(face), LINE),
  create(host, context) {
    const canvas = document.createElement("canvas");
    host.append(canvas);
    const pack = () => packOf(/** @type {any} */ (context));
    const draw = () => {
      const widget = pack();
      const { node } = widget;
      const [width, height] = [node.size[0], heightOf(widget, LINE)];
      const ctx = sized(canvas, width, height);
      widget.last_y = widget.y = host.offsetTop - TITLE;
      ctx.translate(0, -widget.y);
      node.graph.host.app.guard(() => widget.draw?.(ctx, node, width, widget.y, height, false));
    };
    /** @param {PointerEvent} event */
    const onPointer = (event) => {
      const widget = pack();
      const { node } = widget;
      if (!widget.mouse || (event.type === "pointermove" && !event.buttons)) return;
      event.stopPropagation();
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      const scale = box.width / node.size[0] || 1;
      const place = [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale + widget.y];
      if (event.type === "pointerdown") canvas.setPointerCapture(event.pointerId);
      node.graph.host.deed(`Change ${widget.name}`, () => {
        widget.mouse(event, place, node);
        node.keepExtras();
      });
      draw();
    };
    for (const type of /** @type {const} */ (["pointerdown", "pointermove", "pointerup"])) canvas.addEventListener(type, onPointer);
    return { update: draw, destroy() {} };
  },
});

/** A canvas of a size in graph units, cleared, sharp. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
function sized(canvas, width, height) {
  const ratio = Math.min(2, devicePixelRatio || 1) * 1.5;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    Object.assign(canvas, { width: w, height: h });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  }
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return ctx;
}

/** A canvas over the node for scripts that draw on it, and its mouse for those that listen. @param {any} node @param {import("../canvas/view.js").NodeView} view @param {import("../canvas/stage.js").Stage} stage @returns {import("../canvas/doors.js").Part | null} */
function drawingOf(node, view, stage) {
  const { app } = node.graph.host;
  /** @type {HTMLCanvasElement | null} */
  let canvas = null;
  const draw = () => {
    if (!node.onDrawForeground && !node.onDrawBackground) {
      canvas?.remove();
      canvas = null;
      return;
    }
    if (!canvas) {
      canvas = document.createElement("canvas");
      canvas.className = "pack-drawing";
      canvas.setAttribute("aria-hidden", "true");
      view.element.append(canvas);
    }
    const { width, height } = view.item.shape;
    const ctx = sized(canvas, width + 2 * AROUND, height + TITLE + 2 * AROUND);
    Object.assign(canvas.style, { left: `${-AROUND}px`, top: `${-AROUND}px` });
    ctx.translate(AROUND, AROUND + TITLE);
    for (const hook of ["onDrawBackground", "onDrawForeground"]) {
      ctx.save();
      app.guard(() => node[hook]?.(ctx, app.canvas, stage.canvas, []));
      ctx.restore();
    }
  };
  /** @type {[string, string][]} */
  const heard = [["pointerdown", "onMouseDown"], ["pointermove", "onMouseMove"], ["pointerup", "onMouseUp"], ["pointerenter", "onMouseEnter"], ["pointerleave", "onMouseLeave"], ["dblclick", "onDblClick"]];
  const stops = heard.map(([type, hook]) => {
    /** @param {any} event */
    const listen = (event) => {
      if (typeof node[hook] !== "function") return;
      const [x, y] = stage.toGraph(event.clientX, event.clientY);
      Object.assign(event, { canvasX: x, canvasY: y });
      const place = [x - node.pos[0], y - node.pos[1]];
      const taken = type === "pointermove" || type === "pointerenter" || type === "pointerleave" ? app.guard(() => node[hook](event, place, app.canvas)) : node.graph?.host.deed(node.title, () => node[hook](event, place, app.canvas));
      if (taken === true) {
        event.stopPropagation();
        event.preventDefault();
      }
    };
    view.element.addEventListener(type, listen);
    return () => view.element.removeEventListener(type, listen);
  });
  /** @param {DragEvent} event */
  const onOver = (event) => {
    if (app.guard(() => node.onDragOver?.(event)) !== true) return;
    event.preventDefault();
    event.stopPropagation();
  };
  /** @param {DragEvent} event */
  const onDrop = (event) => {
    if (!node.onDragDrop) return;
    event.preventDefault();
    event.stopPropagation();
    app.guard(() => node.onDragDrop(event));
  };
  view.element.addEventListener("dragover", onOver);
  view.element.addEventListener("drop", onDrop);
  draw();
  return {
    update: draw,
    destroy() {
      for (const stop of stops) stop();
      view.element.removeEventListener("dragover", onOver);
      view.element.removeEventListener("drop", onDrop);
      canvas?.remove();
    },
  };
}

export { ContextMenu };
