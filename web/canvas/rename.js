// A field over the title of a node or group.

import { changeGroup } from "../core/commands/groups.js";
import { renameNode } from "../core/commands/nodes.js";
import { t } from "../shell/i18n.js";
import { make } from "./dom.js";
import { TITLE } from "./layout.js";

/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../core/records.js").Id} Id */

/** @param {Stage} stage @param {Id} id @param {"node" | "group"} [what] */
export function rename(stage, id, what = "node") {
  const { document: graph } = stage.session;
  const item = what === "node" ? stage.scene.items.get(id) : undefined;
  const group = what === "group" ? stage.scene.view.groups.get(id) : undefined;
  if (!item && !group) return;
  const [x, y] = item ? item.bounds : /** @type {any} */ (group).bounding;
  const width = item ? item.bounds[2] - item.bounds[0] : /** @type {any} */ (group).bounding[2];
  const { camera } = stage;
  const field = make("input", "rename", null, { type: "text", "aria-label": t("New name"), "data-own-keys": "" });
  field.value = item ? item.face.title : /** @type {any} */ (group).title;
  const [sx, sy] = camera.toScreen(x, y);
  field.style.transform = `translate(${sx}px, ${sy}px)`;
  field.style.width = `${Math.max(160, width * camera.scale)}px`;
  field.style.height = `${Math.max(26, TITLE * camera.scale)}px`;
  let open = true;
  /** @param {boolean} keep */
  const close = (keep) => {
    if (!open) return;
    open = false;
    const title = field.value.trim();
    field.remove();
    if (keep && item && title !== item.face.title) renameNode(graph, stage.scene.graph, id, title === item.face.type ? "" : title);
    if (keep && group && title && title !== group.title) changeGroup(graph, stage.scene.graph, id, { title });
    const view = item ? stage.views.get(id) : null;
    (view?.element ?? stage.root).focus({ preventScroll: true });
  };
  field.addEventListener("blur", () => close(true));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") close(true);
    else if (event.key === "Escape") close(false);
    else return event.stopPropagation();
    event.preventDefault();
    event.stopPropagation();
  });
  stage.overlay.append(field);
  field.focus({ preventScroll: true });
  field.select();
}
