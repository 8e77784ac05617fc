// What can be done in the graph, by id. Menus, keys and the command palette run these.

import { addGroup, removeGroup } from "../core/commands/groups.js";
import { addNode, bringToFront, moveNodes, placeNodes, removeNodes, setCollapsed, setColour, setMode, setPinned, setShape } from "../core/commands/nodes.js";
import { dissolveNodes } from "../core/commands/rewire.js";
import { createSubgraph } from "../core/commands/subgraphs.js";
import { unpackSubgraph } from "../core/commands/unpack.js";
import { ALWAYS, BYPASSED, MUTED, ROOT } from "../core/records.js";
import { newId } from "./uuid.js";
import { t } from "../shell/i18n.js";
import { align } from "./align.js";
import { copied, duplicate, paste } from "./clipboard.js";
import { fitGroup } from "./menu.js";
import { rename } from "./rename.js";
import { openSwap } from "./swap.js";

/** @typedef {import("../shell/actions.js").Actions} Actions */
/** @typedef {import("../shell/actions.js").Action} Action */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./index.js").Canvas} Canvas */

/**
 * @param {Actions} actions
 * @param {Canvas | (() => Canvas | null)} canvas  the one on screen
 */
export function registerGraphActions(actions, canvas) {
  const current = typeof canvas === "function" ? canvas : () => canvas;
  /** @param {(stage: Stage, args: any) => unknown} run @returns {Action["run"]} */
  const on = (run) => (_session, args) => {
    const stage = current()?.stage;
    if (stage) return run(stage, args);
    return undefined;
  };
  /** @param {Session} session */
  const some = ({ selection }) => selection.selected.nodes.size > 0;
  /** @param {Session} session */
  const any = ({ selection }) => selection.selected.nodes.size + selection.selected.groups.size > 0;
  /** @param {Session} session */
  const instance = ({ document: graph, selection, graph: name }) => {
    const [id] = selection.selected.nodes;
    const node = id === undefined ? undefined : graph.graph(name).nodes.get(id);
    return node !== undefined && node.type !== ROOT && graph.hasGraph(node.type);
  };
  const boxed = () => {
    const stage = current()?.stage;
    const [id] = stage?.session.selection.selected.nodes ?? [];
    const names = id === undefined ? [] : (stage?.scene.items.get(id)?.face.widgets ?? []).map(({ name, input }) => (input.type === "BOUNDING_BOX" ? "box" : name));
    return names.includes("box") || ["x", "y", "width", "height"].every((name) => names.includes(name));
  };
  /** @param {Stage} stage */
  const chosen = (stage) => [...stage.session.selection.selected.nodes];
  /** Whether all that is selected is in a state. @param {Stage} stage @param {(node: import("../core/records.js").NodeRecord) => boolean} is */
  const all = (stage, is) => chosen(stage).every((id) => is(stage.scene.view.node(id)));
  /** @param {Stage} stage @param {number} mode */
  const toggleMode = (stage, mode) => {
    const off = all(stage, (node) => node.mode === mode);
    setMode(stage.session.document, stage.scene.graph, chosen(stage), off ? ALWAYS : mode);
    stage.say(off ? t("Runs again") : mode === MUTED ? t("Muted") : t("Bypassed"));
  };
  /** @param {string} flag */
  const flagged = (flag) => (/** @type {import("../core/records.js").NodeRecord} */ node) => node.flags?.[flag] === true;
  const group = "Graph";

  actions.add(
    { id: "graph.add", title: "Add a node", group, keys: ["space", "a"], run: on((stage) => stage.emit("search", searchAtMiddle(stage))) },
    {
      id: "graph.delete", title: "Delete", group, keys: ["delete", "backspace"], when: any,
      run: on((stage) => {
        const { selection, document: graph } = stage.session;
        const { nodes, groups } = selection.selected;
        stage.say(`${nodes.size + groups.size} deleted`);
        graph.edit("Delete", () => {
          removeNodes(graph, stage.scene.graph, nodes);
          for (const id of groups) removeGroup(graph, stage.scene.graph, id);
        });
      }),
    },
    { id: "graph.dissolve", title: "Delete and keep links", group, keys: ["ctrl+delete", "ctrl+backspace"], when: some, run: on((stage) => dissolveNodes(stage.session.document, stage.scene.graph, chosen(stage))) },
    // Ctrl+C, X and V are the browser's own events (transfer.js): only those may reach the clipboard on every address.
    {
      id: "graph.copy", title: "Copy", group, when: any,
      run: on(async (stage) => {
        const text = copied(stage);
        if (text !== null) await write(text);
      }),
    },
    {
      id: "graph.cut", title: "Cut", group, when: any,
      run: on(async (stage) => {
        const text = copied(stage);
        if (text !== null) await write(text);
        actions.run("graph.delete");
      }),
    },
    { id: "graph.paste", title: "Paste", group, run: on(async (stage, args) => pasteText(stage, args ?? {})) },
    { id: "graph.pasteLinked", title: "Paste with links", group, run: on(async (stage, args) => pasteText(stage, { ...args, links: true })) },
    { id: "graph.duplicate", title: "Duplicate", group, keys: ["ctrl+d"], when: any, run: on((stage) => duplicate(stage)) },
    { id: "graph.selectAll", title: "Select all", group, keys: ["ctrl+a"], run: on((stage) => stage.session.selection.set(stage.scene.items.keys(), stage.scene.view.groups.keys())) },
    { id: "graph.selectNone", title: "Select nothing", group, when: any, run: on((stage) => stage.session.selection.clear()) },
    { id: "graph.selectUp", title: "Select what feeds it", group, keys: ["ctrl+shift+left"], when: some, run: on((stage) => selectAlong(stage, "into", "from")) },
    { id: "graph.selectDown", title: "Select what it feeds", group, keys: ["ctrl+shift+right"], when: some, run: on((stage) => selectAlong(stage, "outOf", "to")) },
    {
      id: "graph.group", title: "Frame the selection", group, keys: ["ctrl+g"], when: some,
      run: on((stage) => {
        const box = stage.scene.extent(chosen(stage));
        if (box) stage.session.selection.set(chosen(stage), [addGroup(stage.session.document, stage.scene.graph, t("Group"), [box[0] - 16, box[1] - 50, box[2] + 32, box[3] + 66], "#5684c4")]);
      }),
    },
    { id: "graph.fitGroup", title: "Fit the frame to what is inside", group, when: ({ selection }) => selection.selected.groups.size > 0, run: on((stage) => [...stage.session.selection.selected.groups].forEach((id) => fitGroup(stage, id))) },
    { id: "graph.addGroup", title: "Add a frame", group, run: on((stage, args) => {
      const [x, y] = args?.at ?? middle(stage);
      addGroup(stage.session.document, stage.scene.graph, t("Group"), [x, y, 400, 260], "#5684c4");
    }) },
    { id: "graph.note", title: "Add a note", group, run: on((stage, args) => {
      const id = addNode(stage.session.document, stage.scene.graph, "MarkdownNote", null, { pos: args?.at ?? middle(stage), size: [260, 140], inputs: [], outputs: [], properties: {}, widgets_values: [""] });
      stage.session.selection.set([id]);
    }) },
    { id: "graph.rename", title: "Rename", group, keys: ["f2"], when: any, run: on((stage) => {
      const [id] = chosen(stage);
      const [frame] = stage.session.selection.selected.groups;
      if (id !== undefined) rename(stage, id);
      else if (frame !== undefined) rename(stage, frame, "group");
    }) },
    { id: "graph.bypass", title: "Bypass", group, keys: ["ctrl+b"], when: some, run: on((stage) => toggleMode(stage, BYPASSED)) },
    { id: "graph.mute", title: "Mute", group, keys: ["ctrl+m"], when: some, run: on((stage) => toggleMode(stage, MUTED)) },
    { id: "graph.collapse", title: "Collapse", group, keys: ["alt+c"], when: some, run: on((stage) => setCollapsed(stage.session.document, stage.scene.graph, chosen(stage), !all(stage, flagged("collapsed")))) },
    { id: "graph.pin", title: "Pin", group, keys: ["p"], when: some, run: on((stage) => setPinned(stage.session.document, stage.scene.graph, chosen(stage), !all(stage, flagged("pinned")))) },
    { id: "graph.colour", title: "Colour", group, when: some, run: on((stage, args) => setColour(stage.session.document, stage.scene.graph, chosen(stage), args ? { color: args.color, bgcolor: args.bgcolor } : null)) },
    { id: "graph.shape", title: "Shape", group, when: some, run: on((stage, args) => setShape(stage.session.document, stage.scene.graph, chosen(stage), args?.shape ?? 2)) },
    { id: "graph.front", title: "Bring to front", group, keys: ["ctrl+]"], when: some, run: on((stage) => bringToFront(stage.session.document, stage.scene.graph, chosen(stage))) },
    { id: "graph.swap", title: "Swap for another node", group, keys: ["shift+s"], when: some, run: on((stage, args) => openSwap(stage, chosen(stage)[0], args?.client)) },
    ...["left", "right", "top", "bottom", "rows", "columns"].map((how) => ({
      id: `graph.align.${how}`, group: "Arrange", when: (/** @type {Session} */ { selection }) => selection.selected.nodes.size > 1,
      title: { left: "Align left", right: "Align right", top: "Align top", bottom: "Align bottom", rows: "Distribute across", columns: "Distribute down" }[how] ?? how,
      run: on((stage) => {
        const places = align(/** @type {import("./align.js").How} */ (how), chosen(stage).flatMap((id) => stage.scene.items.get(id) ?? []));
        placeNodes(stage.session.document, stage.scene.graph, places, "Align");
      }),
    })),
    { id: "graph.tidy", title: "Tidy up", group: "Arrange", keys: ["ctrl+shift+l"], run: on(async (stage) => (await import("./tidy.js")).tidy(stage)) },
    ...Object.entries({ left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }).map(([key, [x, y]]) => ({
      id: `graph.nudge.${key}`, title: `Move ${key}`, group: "Arrange", keys: [`ctrl+${key}`], when: some,
      run: on((stage) => moveNodes(stage.session.document, stage.scene.graph, chosen(stage), 20 * x, 20 * y, { merge: "nudge" })),
    })),
    { id: "graph.subgraph", title: "Make a subgraph", group, keys: ["ctrl+shift+g"], when: some, run: on((stage) => {
      const id = createSubgraph(stage.session.document, stage.scene.graph, chosen(stage), newId(), t("Subgraph"));
      stage.session.selection.set([id]);
    }) },
    { id: "graph.unpack", title: "Unpack the subgraph", group, when: instance, run: on((stage) => {
      const made = unpackSubgraph(stage.session.document, stage.scene.graph, chosen(stage)[0], stage.session.definitions);
      stage.session.selection.set(made);
    }) },
    { id: "graph.publish", title: "Publish the subgraph", group, when: instance, run: on(async (stage) => (await import("./blueprints.js")).publish(stage, chosen(stage)[0])) },
    { id: "graph.enter", title: "Open the subgraph", group, keys: ["alt+down"], when: instance, run: on((stage) => stage.enter([...stage.session.within, chosen(stage)[0]])) },
    { id: "graph.leave", title: "Leave the subgraph", group, keys: ["alt+up"], when: ({ within }) => within.length > 0, run: on((stage) => {
      const from = stage.session.within.at(-1);
      stage.enter(stage.session.within.slice(0, -1));
      if (from !== undefined) stage.session.selection.set([from]);
    }) },
    { id: "graph.box", title: "Draw the box", group, when: boxed, run: on(async (stage, args) => (await import("./boxes.js")).openBox(stage, args?.id ?? chosen(stage)[0])) },
    { id: "graph.connect", title: "Connect a socket", group, keys: ["c"], when: some, run: on(async (stage) => (await import("./keyboard_linking.js")).openConnect(stage, chosen(stage)[0])) },
    { id: "edit.undo", title: "Undo", group: "Edit", keys: ["ctrl+z"], when: ({ document: graph }) => graph.canUndo, run: on((stage) => {
      stage.say(`${t("Undone")}: ${stage.session.document.undoLabel}`);
      stage.session.document.undo();
    }) },
    { id: "edit.redo", title: "Redo", group: "Edit", keys: ["ctrl+shift+z", "ctrl+y"], when: ({ document: graph }) => graph.canRedo, run: on((stage) => {
      stage.say(`${t("Done again")}: ${stage.session.document.redoLabel}`);
      stage.session.document.redo();
    }) },
    { id: "view.fit", title: "Show everything", group: "View", keys: ["home", "."], run: on((stage) => stage.fit(chosen(stage).length > 1 ? chosen(stage) : undefined)) },
    { id: "view.fitSelection", title: "Show the selection", group: "View", keys: ["f"], when: some, run: on((stage) => stage.fit(chosen(stage), { closest: 1.25 })) },
    { id: "view.zoomIn", title: "Zoom in", group: "View", keys: ["plus", "="], run: on((stage) => zoom(stage, 1.25)) },
    { id: "view.zoomOut", title: "Zoom out", group: "View", keys: ["-"], run: on((stage) => zoom(stage, 0.8)) },
    { id: "view.zoomReal", title: "Zoom to 100 %", group: "View", keys: ["1"], run: on((stage) => zoom(stage, 1 / stage.camera.scale)) },
    { id: "view.minimap", title: "Minimap", group: "View", keys: ["m"], run: (session) => session.settings.set("canvas.minimap", session.settings.get("canvas.minimap") !== true) },
    { id: "view.lock", title: "Lock or unlock the graph", group: "View", run: (session) => session.settings.set("canvas.locked", session.settings.get("canvas.locked") !== true) },
    { id: "view.links", title: "Show or hide links", group: "View", run: (session) => session.settings.set("canvas.links", session.settings.get("canvas.links") === "hidden" ? "curved" : "hidden") },
  );
}

/** @param {Stage} stage @returns {[number, number]} */
function middle(stage) {
  const [x, y, w, h] = stage.camera.visible();
  return [x + w / 2 - 150, y + h / 2 - 100];
}

/** @param {Stage} stage */
function searchAtMiddle(stage) {
  const pointer = stage.pointer;
  const rect = stage.rect();
  const client = pointer ?? { x: rect.left + rect.width / 2 - 200, y: rect.top + rect.height / 3 };
  const at = pointer ? stage.toGraph(pointer.x, pointer.y) : middle(stage);
  return { at, client };
}

/** @param {Stage} stage @param {number} factor */
function zoom(stage, factor) {
  stage.camera.zoomAt(stage.camera.width / 2, stage.camera.height / 2, factor);
  stage.moved();
}

/** @param {Stage} stage @param {"into" | "outOf"} side @param {"from" | "to"} end */
function selectAlong(stage, side, end) {
  const { selection } = stage.session;
  const found = new Set(selection.selected.nodes);
  const waiting = [...found];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    for (const link of stage.scene.view.linked[side](id)) {
      const next = link[end];
      if (found.has(next) || !stage.scene.items.has(next)) continue;
      found.add(next);
      waiting.push(next);
    }
  }
  selection.set(found);
}

/** The clipboard of the page, for browsers that keep the real one from pages without a certificate. */
let fallback = "";

/** @param {string} text */
async function write(text) {
  fallback = text;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pasting in this page works all the same
  }
}

/** @param {Stage} stage @param {{at?: readonly [number, number], links?: boolean}} options */
async function pasteText(stage, options) {
  let text = fallback;
  try {
    text = (await navigator.clipboard.readText()) || fallback;
  } catch {
    // not allowed: what was copied in this page
  }
  if (!paste(stage, text, options) && text !== fallback) paste(stage, fallback, options);
}

