// The names and numbers that scripts of node packs expect of LiteGraph. There is no LiteGraph here: nodes are those of nodes.js.

import { openMenu } from "../shell/menu.js";
import { missing, watched } from "./report.js";

/** Colours of node palettes, as files of this kind name them. */
export const NODE_COLORS = Object.freeze({
  red: { color: "#322", bgcolor: "#533", groupcolor: "#A88" },
  brown: { color: "#332922", bgcolor: "#593930", groupcolor: "#b06634" },
  green: { color: "#232", bgcolor: "#353", groupcolor: "#8A8" },
  blue: { color: "#223", bgcolor: "#335", groupcolor: "#88A" },
  pale_blue: { color: "#2a363b", bgcolor: "#3f5159", groupcolor: "#3f789e" },
  cyan: { color: "#233", bgcolor: "#355", groupcolor: "#8AA" },
  purple: { color: "#323", bgcolor: "#535", groupcolor: "#a1309b" },
  yellow: { color: "#432", bgcolor: "#653", groupcolor: "#b58b2a" },
  black: { color: "#222", bgcolor: "#000", groupcolor: "#444" },
});

const NUMBERS = {
  NODE_TITLE_HEIGHT: 30, NODE_TITLE_TEXT_Y: 20, NODE_SLOT_HEIGHT: 20, NODE_WIDGET_HEIGHT: 20, NODE_WIDTH: 140, NODE_MIN_WIDTH: 50, NODE_COLLAPSED_RADIUS: 10, NODE_COLLAPSED_WIDTH: 80,
  NODE_TEXT_SIZE: 14, NODE_SUBTEXT_SIZE: 12, NODE_TITLE_COLOR: "#999", NODE_SELECTED_TITLE_COLOR: "#FFF", NODE_TEXT_COLOR: "#AAA", NODE_DEFAULT_COLOR: "#333", NODE_DEFAULT_BGCOLOR: "#353535",
  NODE_DEFAULT_BOXCOLOR: "#666", NODE_DEFAULT_SHAPE: "round", NODE_BOX_OUTLINE_COLOR: "#FFF", NODE_ERROR_COLOUR: "#E00", DEFAULT_SHADOW_COLOR: "rgba(0,0,0,0.5)", DEFAULT_GROUP_FONT: 24,
  WIDGET_BGCOLOR: "#222", WIDGET_OUTLINE_COLOR: "#666", WIDGET_TEXT_COLOR: "#DDD", WIDGET_SECONDARY_TEXT_COLOR: "#999", LINK_COLOR: "#9A9", EVENT_LINK_COLOR: "#A86", CONNECTING_LINK_COLOR: "#AFA",
  BOX_SHAPE: 1, ROUND_SHAPE: 2, CIRCLE_SHAPE: 3, CARD_SHAPE: 4, ARROW_SHAPE: 5, GRID_SHAPE: 6, INPUT: 1, OUTPUT: 2, EVENT: -1, ACTION: -1, ALWAYS: 0, ON_EVENT: 1, NEVER: 2, ON_TRIGGER: 3, BYPASS: 4,
  UP: 1, DOWN: 2, LEFT: 3, RIGHT: 4, CENTER: 5, STRAIGHT_LINK: 0, LINEAR_LINK: 1, SPLINE_LINK: 2, NORMAL_TITLE: 0, NO_TITLE: 1, TRANSPARENT_TITLE: 2, AUTOHIDE_TITLE: 3, MAX_NUMBER_OF_NODES: 10000,
};

/** A menu at the pointer, from entries `{content, callback, disabled, submenu, has_submenu}`, texts or null for a line. */
export class ContextMenu {
  /** @param {any[]} values @param {any} [options] */
  constructor(values, options = {}) {
    this.root = document.createElement("div");
    const event = options.event ?? {};
    /** @type {() => void} */
    this.close = openMenu(entriesOf(values, options), { x: event.clientX ?? 200, y: event.clientY ?? 200 });
  }
}

/**
 * Entries of scripts as entries of our menus.
 * @param {readonly any[]} values @param {any} [options]
 * @returns {import("../shell/menu.js").Entry[]}
 */
export function entriesOf(values, options = {}) {
  return values.filter((each) => each !== undefined).map((each) => {
    if (each === null) return null;
    const entry = typeof each === "string" ? { content: each } : each;
    const label = plain(entry.content ?? entry.title ?? "");
    const more = entry.submenu?.options ?? (entry.has_submenu ? undefined : entry.submenu);
    return {
      label: more || entry.has_submenu ? `${label} …` : label,
      disabled: Boolean(entry.disabled),
      run: () => {
        if (Array.isArray(more)) return void new ContextMenu(more, { ...options, callback: entry.submenu?.callback ?? entry.callback, event: lastPlace });
        const own = entry.callback?.call(entry, each, options, lastPlace, null, options.extra ?? options.node);
        if (own !== true) options.callback?.call(entry, each, options, lastPlace, null, options.extra ?? options.node);
      },
    };
  });
}

/** Where the pointer was last: menus within menus open there. */
let lastPlace = { clientX: 200, clientY: 200 };
addEventListener("pointerdown", ({ clientX, clientY }) => (lastPlace = { clientX, clientY }), true);

/** Text of a label that may hold markup, which is never used as such. @param {unknown} text */
function plain(text) {
  return new DOMParser().parseFromString(String(text), "text/html").body.textContent ?? "";
}

/**
 * @param {import("./types.js").NodeTypes} types
 * @param {typeof import("./node.js").PackNode} PackNode
 */
export function createLiteGraph(types, PackNode) {
  const LGraphNode = PackNode;
  /** @type {any} a function, since the prototype of a class cannot be another one */
  const LGraphCanvas = function () {};
  LGraphCanvas.prototype = watched({}, "LGraphCanvas.prototype");
  Object.assign(LGraphCanvas, { node_colors: NODE_COLORS, link_type_colors: {}, DEFAULT_BACKGROUND_IMAGE: "", onMenuAdd() {} });
  Object.defineProperty(LGraphCanvas, "active_canvas", { get: () => /** @type {any} */ (globalThis).app?.canvas });
  class LGraphGroup {
    constructor(title = "Group") {
      this.title = title;
      missing("LGraphGroup");
    }
  }
  class LGraph {}
  class LLink {}
  const LiteGraph = watched({
    ...NUMBERS,
    LGraph, LGraphNode, LGraphCanvas, LGraphGroup, LLink, ContextMenu,
    NODE_MODES: ["Always", "On Event", "Never", "On Trigger"], NODE_MODES_COLORS: ["#666", "#422", "#333", "#224", "#626"], VALID_SHAPES: ["default", "box", "round", "card"],
    registered_node_types: types.byName, registered_slot_in_types: /** @type {Record<string, any>} */ ({}), registered_slot_out_types: /** @type {Record<string, any>} */ ({}),
    slot_types_in: /** @type {string[]} */ ([]), slot_types_out: /** @type {string[]} */ ([]), slot_types_default_in: /** @type {Record<string, any>} */ ({}), slot_types_default_out: /** @type {Record<string, any>} */ ({}),
    alt_drag_do_clone_nodes: true, dialog_close_on_mouse_leave: false, pointerevents_method: "pointer", node_box_coloured_by_mode: false, node_box_coloured_when_on: false, release_link_on_empty_shows_menu: true,
    search_hide_on_mouse_leave: true, ctrl_shift_v_paste_connect_unselected_outputs: true, snaps_to_grid: false, use_uuids: false, vueNodesMode: false, shift_click_do_break_link_from: false,
    registerNodeType: types.register.bind(types),
    unregisterNodeType: (/** @type {string} */ name) => void delete types.byName[name],
    createNode: types.create.bind(types),
    getNodeType: (/** @type {string} */ name) => types.byName[name],
    isValidConnection: (/** @type {any} */ a, /** @type {any} */ b) => a === b || a === "*" || b === "*" || String(a).split(",").some((each) => String(b).split(",").includes(each)),
    isInsideRectangle: (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ left, /** @type {number} */ top, /** @type {number} */ width, /** @type {number} */ height) => x > left && x < left + width && y > top && y < top + height,
    getTime: () => performance.now(),
    cloneObject: (/** @type {unknown} */ value) => structuredClone(value),
    uuidv4: () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("").replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-a$4-$5"),
    closeAllContextMenus: () => document.querySelectorAll(".menu").forEach((each) => each.remove()),
  }, "LiteGraph");
  return { LiteGraph, LGraphCanvas, LGraphNode, LGraphGroup, LGraph, LLink };
}
