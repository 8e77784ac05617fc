// What can be done with the thing under the pointer. Every entry runs an action, so keys and the command palette know it, too.

import { openMenu } from "../shell/menu.js";
import { t } from "../shell/i18n.js";
import { addReroute, disconnectInput, disconnectOutput, removeLinks, removeReroute } from "../core/commands/links.js";
import { removeBoundarySlot } from "../core/commands/boundary.js";
import { removeGroup, changeGroup, inside } from "../core/commands/groups.js";
import { INPUT_BOUNDARY, OUTPUT_BOUNDARY } from "../core/records.js";
import { SWATCHES } from "./colours.js";
import { menus } from "./doors.js";
import { groupAt } from "./pointer.js";
import { rename } from "./rename.js";
import { promote } from "./promote.js";
import { loadOutput } from "./transfer.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../shell/menu.js").Entry} Entry */

const SHAPES = /** @type {const} */ ([["Round", 2], ["Square", 1], ["Round at two corners", 4]]);

/** @param {Stage} stage @param {number} clientX @param {number} clientY */
export function openMenuAt(stage, clientX, clientY) {
  const [x, y] = stage.toGraph(clientX, clientY);
  const entries = entriesAt(stage, x, y, { x: clientX, y: clientY });
  openMenu(entries, { x: clientX, y: clientY });
}

/** @param {Stage} stage @param {string} id @param {any} [args] @param {string} [label] @returns {Entry[]} nothing when it cannot be done now */
function action(stage, id, args, label) {
  const { actions } = stage.session;
  const found = actions.get(id);
  if (!found || !actions.can(id)) return [];
  return [{ label: label ?? t(found.title), keys: actions.keysOf(id)[0]?.replace("plus", "+") ?? "", run: () => actions.run(id, args) }];
}

/** @param {Stage} stage @param {number} x @param {number} y @param {{x: number, y: number}} client @returns {Entry[]} */
function entriesAt(stage, x, y, client) {
  const { scene, camera, session } = stage;
  const { document: graph, selection } = session;
  const name = scene.graph;
  const px = 1 / camera.scale;
  /** @param {string} id @param {any} [args] @param {string} [label] */
  const act = (id, args, label) => action(stage, id, args, label);

  const socket = scene.socketAt(x, y, 9 * Math.max(1, px));
  if (socket && socket.slot >= 0) {
    const border = socket.node === INPUT_BOUNDARY || socket.node === OUTPUT_BOUNDARY;
    const side = socket.node === INPUT_BOUNDARY ? "inputs" : "outputs";
    const linked = socket.side === "input" ? scene.view.linked.input(socket.node, socket.slot) !== undefined : scene.view.linked.output(socket.node, socket.slot).length > 0;
    const real = border && socket.slot < (scene.view.record[side] ?? []).length;
    return [
      { label: t("Add a node that fits"), run: () => stage.emit("search", { at: [x, y], client, link: socket }) },
      ...(linked ? [{ label: t("Disconnect"), run: () => (socket.side === "input" ? disconnectInput : disconnectOutput)(graph, name, socket) }] : []),
      ...(real ? [{ label: t("Remove"), run: () => removeBoundarySlot(graph, name, side, socket.slot) }] : []),
    ];
  }
  const item = scene.nodeAt(x, y);
  if (item && scene.items.has(item.id)) {
    const { id } = item;
    if (!selection.selected.nodes.has(id)) selection.set([id]);
    const widget = item.face.widgets.find((_, i) => !item.shape.collapsed && y >= item.node.pos[1] + item.shape.widgets[i].y && y <= item.node.pos[1] + item.shape.widgets[i].y + item.shape.widgets[i].height);
    return [
      ...(widget && name !== "root" && item.face.kind !== "note" && !widget.fed ? [{ label: t("Show {name} on the subgraph", { name: widget.label }), run: () => promote(stage, id, widget) }, null] : []),
      { label: t("Rename"), keys: "F2", run: () => rename(stage, id) },
      ...act("graph.swap", { client }),
      ...act("graph.enter"), ...act("graph.box"), ...forPictures(stage, id, client),
      null,
      ...act("graph.bypass"), ...act("graph.mute"), ...act("graph.collapse"), ...act("graph.pin"), ...act("run.freeze"), ...act("run.selected"),
      { label: t("Colour"), run: () => openMenu(colours(stage), client) },
      { label: t("Shape"), run: () => openMenu(SHAPES.map(([label, shape]) => ({ label: t(label), run: () => session.actions.run("graph.shape", { shape }) })), client) },
      null,
      ...act("graph.copy"), ...act("graph.duplicate"), ...act("graph.delete"), ...act("graph.dissolve"),
      null,
      ...act("graph.group"), ...act("graph.subgraph"), ...act("graph.unpack"), ...act("graph.publish"),
      ...(selection.selected.nodes.size > 1 ? [null, { label: t("Align and distribute"), run: () => openMenu(["left", "right", "top", "bottom", "rows", "columns"].flatMap((how) => act(`graph.align.${how}`)), client) }] : []),
      ...act("view.help", { type: item.node.type }),
      ...[...menus].flatMap((more) => more(stage, item)),
    ];
  }
  const reroute = [...scene.view.reroutes.values()].find(({ pos }) => Math.hypot(pos[0] - x, pos[1] - y) < 9 * Math.max(1, px));
  if (reroute) return [{ label: t("Remove the bend"), run: () => removeReroute(graph, name, reroute.id) }];
  const wire = scene.wireAt(x, y, 8 * px);
  if (wire) {
    return [
      { label: t("Add a node here"), run: () => stage.emit("search", { at: [x, y], client, onLink: wire.link.id }) },
      { label: t("Bend here"), run: () => addReroute(graph, name, wire.link.id, [x, y]) },
      { label: t("Remove the link"), run: () => removeLinks(graph, name, [wire.link.id]) },
    ];
  }
  const group = groupAt(stage, x, y);
  const forGroup = group
    ? /** @type {Entry[]} */ ([
        { label: group.title, heading: true },
        { label: t("Rename"), run: () => rename(stage, group.id, "group") },
        { label: t("Select what is inside"), run: () => selection.set(inside(scene.view, group.bounding).nodes, [group.id]) },
        { label: t("Fit to what is inside"), run: () => fitGroup(stage, group.id) },
        { label: t("Bypass what is inside"), run: () => (selection.set(inside(scene.view, group.bounding).nodes, [group.id]), session.actions.run("graph.bypass")) },
        { label: t("Colour"), run: () => openMenu(groupColours(stage, group.id), client) },
        { label: t("Remove the frame"), run: () => removeGroup(graph, name, group.id) },
        null,
      ])
    : [];
  return [
    ...forGroup,
    { label: t("Add a node"), run: () => stage.emit("search", { at: [x, y], client }) },
    ...act("graph.paste", { at: [x, y] }),
    ...act("graph.addGroup", { at: [x, y] }),
    ...act("graph.note", { at: [x, y] }),
    null,
    ...act("edit.undo"), ...act("edit.redo"),
    null,
    ...act("graph.selectAll"), ...act("view.fit"), ...act("graph.tidy"), ...act("graph.leave"),
  ];
}

/** @param {string} url @param {string} name */
function saveAs(url, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
}

/** What can be done with the pictures a node shows. @param {Stage} stage @param {import("../core/records.js").Id} id @param {{x: number, y: number}} client @returns {Entry[]} */
function forPictures(stage, id, client) {
  const pictures = stage.run(id).outputs.filter(({ kind }) => kind === "image");
  if (!pictures.length) return [];
  return [
    { label: t("Look at the picture"), run: () => stage.emit("view", { outputs: pictures, at: 0 }) },
    { label: t("Load it into a new node"), run: () => loadOutput(stage, pictures[0], stage.toGraph(client.x + 40, client.y)) },
    { label: t("Download the picture"), run: () => saveAs(pictures[0].url, pictures[0].filename) },
  ];
}

/** @param {Stage} stage @returns {Entry[]} */
function colours(stage) {
  return [{ label: t("As the theme has it"), run: () => stage.session.actions.run("graph.colour", null) }, ...SWATCHES.map((swatch) => ({ label: t(swatch.name), run: () => stage.session.actions.run("graph.colour", swatch) }))];
}

/** @param {Stage} stage @param {import("../core/records.js").Id} id @returns {Entry[]} */
function groupColours(stage, id) {
  return SWATCHES.map(({ name, group }) => ({ label: t(name), run: () => changeGroup(stage.session.document, stage.scene.graph, id, { color: group }) }));
}

/** Draw a frame closely around what it holds. @param {Stage} stage @param {import("../core/records.js").Id} id */
export function fitGroup(stage, id) {
  const group = stage.scene.view.groups.get(id);
  const box = group && stage.scene.extent(inside(stage.scene.view, group.bounding).nodes);
  if (box) changeGroup(stage.session.document, stage.scene.graph, id, { bounding: [box[0] - 16, box[1] - 50, box[2] + 32, box[3] + 66] });
}
