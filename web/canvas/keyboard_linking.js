// Linking without a pointer: choose a socket of the node, then what it is linked to.

import { disconnectInput } from "../core/commands/links.js";
import { t } from "../shell/i18n.js";
import { rank } from "./fuzzy.js";
import { focusNode } from "./keyboard.js";
import { join, whyNot } from "./linking.js";
import { openPalette } from "./palette.js";
import { socketsOf } from "./scene.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./scene.js").SocketHit} SocketHit */

/** @param {Stage} stage @param {import("../core/records.js").Id} id */
export function openConnect(stage, id) {
  const item = stage.scene.items.get(id);
  if (!item) return;
  const sockets = socketsOf(item).map((socket) => ({ socket, label: nameOf(stage, socket), detail: feeding(stage, socket) }));
  openPalette({
    label: t("Connect which socket of {node}?", { node: item.face.title }),
    at: placeOf(stage, id),
    find: (query) => rank(query, sockets, ({ label }) => [label]).map(({ item: each, at }) => ({ item: each.socket, label: each.label, detail: each.detail, at })),
    take: (socket) => openTargets(stage, socket),
  });
}

/** @param {Stage} stage @param {SocketHit} held */
function openTargets(stage, held) {
  const own = stage.scene.item(held.node);
  const all = [...stage.scene.items.values(), ...stage.scene.boundary.values()].flatMap((item) => socketsOf(item)).filter((socket) => whyNot(stage, held, socket) === null);
  /** @param {SocketHit} socket */
  const distance = (socket) => Math.hypot(socket.x - held.x, socket.y - held.y) + (socket.widget === null ? 0 : 4000);
  const targets = all.sort((a, b) => distance(a) - distance(b)).map((socket) => ({ socket, label: `${stage.scene.item(socket.node)?.face.title}: ${nameOf(stage, socket)}`, detail: feeding(stage, socket) }));
  const linked = held.side === "input" && held.slot >= 0 && stage.scene.view.linked.input(held.node, held.slot) !== undefined;
  const extra = [{ socket: null, label: t("A new node …"), detail: "" }, ...(linked ? [{ socket: undefined, label: t("Nothing: take the link away"), detail: "" }] : [])];
  openPalette({
    label: t("Connect {socket} to what?", { socket: nameOf(stage, held) }),
    at: placeOf(stage, held.node),
    find: (query) => (query.trim() ? rank(query, [...targets, ...extra], ({ label }) => [label]).map(({ item }) => item) : [...targets.slice(0, 80), ...extra]).map((each) => ({ item: each, label: each.label, detail: each.detail })),
    take: ({ socket }) => {
      if (socket === undefined) disconnectInput(stage.session.document, stage.scene.graph, held);
      else if (socket === null) stage.emit("search", { at: [held.x + (held.side === "output" ? 80 : -80), held.y], client: placeOf(stage, held.node), link: held });
      else {
        join(stage, held, socket);
        stage.say(t("{a} is connected to {b}", { a: nameOf(stage, held), b: `${stage.scene.item(socket.node)?.face.title}: ${nameOf(stage, socket)}` }));
      }
      if (own && stage.scene.items.has(own.id) && socket !== null) focusNode(stage, own.id);
    },
  });
}

/** @param {Stage} stage @param {SocketHit} socket */
function nameOf(stage, { node, side, slot, widget }) {
  const face = stage.scene.item(node)?.face;
  const label = widget ?? (side === "input" ? face?.inputs : face?.outputs)?.find(({ index }) => index === slot)?.label ?? "";
  return side === "input" ? t("input {name}", { name: label }) : t("output {name}", { name: label });
}

/** What a socket is linked to now. @param {Stage} stage @param {SocketHit} socket */
function feeding(stage, { node, side, slot }) {
  const { linked } = stage.scene.view;
  const links = side === "input" ? (slot < 0 ? [] : linked.inputs(node, slot)) : linked.output(node, slot);
  return links.map((link) => stage.scene.item(side === "input" ? link.from : link.to)?.face.title ?? "").join(", ");
}

/** @param {Stage} stage @param {import("../core/records.js").Id} id */
function placeOf(stage, id) {
  const item = stage.scene.item(id);
  const rect = stage.rect();
  const [x, y] = item ? stage.camera.toScreen(item.bounds[0], item.bounds[1]) : [0, 0];
  return { x: rect.left + Math.max(8, Math.min(x, stage.camera.width - 440)), y: rect.top + Math.max(8, y + 34) };
}
