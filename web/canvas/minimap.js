// The whole graph, small, in a corner: shows where one is and goes where one points.

import { make } from "./dom.js";
import { bodyColour } from "./paint.js";

/** @typedef {import("./stage.js").Stage} Stage */

const WIDTH = 200;
const HEIGHT = 130;
const EVERY_MS = 120;

export class Minimap {
  #due = 0;
  /** @type {{x: number, y: number, scale: number} | null} */
  #fit = null;

  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    this.element = make("div", "minimap", null, { "data-own-pointer": "", "aria-hidden": "true" });
    this.canvas = make("canvas");
    this.canvas.width = WIDTH;
    this.canvas.height = HEIGHT;
    this.element.append(this.canvas);
    stage.overlay.append(this.element);
    const show = () => {
      this.element.hidden = stage.session.settings.get("canvas.minimap") !== true;
      this.#later();
    };
    this.stops = [stage.session.settings.subscribe("canvas.minimap", show), stage.on("drawn", () => this.#later())];
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      this.#go(event);
      event.stopPropagation();
    });
    this.element.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.#go(event);
      event.stopPropagation();
    });
    show();
  }

  /** @param {PointerEvent} event */
  #go(event) {
    if (!this.#fit) return;
    const rect = this.canvas.getBoundingClientRect();
    const { camera } = this.stage;
    const [gx, gy] = [this.#fit.x + (event.clientX - rect.left) / this.#fit.scale, this.#fit.y + (event.clientY - rect.top) / this.#fit.scale];
    camera.centre([gx, gy, 0, 0]);
    this.stage.moved();
  }

  #later() {
    if (this.#due || this.element.hidden) return;
    this.#due = setTimeout(() => {
      this.#due = 0;
      this.#paint();
    }, EVERY_MS);
  }

  #paint() {
    const ctx = this.canvas.getContext("2d");
    const extent = this.stage.scene.extent();
    if (!ctx) return;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, WIDTH, HEIGHT);
    if (!extent) return;
    const { camera, theme } = this.stage;
    const seen = camera.visible();
    const [left, top] = [Math.min(extent[0], seen[0]) - 100, Math.min(extent[1], seen[1]) - 100];
    const [right, bottom] = [Math.max(extent[0] + extent[2], seen[0] + seen[2]) + 100, Math.max(extent[1] + extent[3], seen[1] + seen[3]) + 100];
    const scale = Math.min(WIDTH / (right - left), HEIGHT / (bottom - top));
    this.#fit = { x: left, y: top, scale };
    ctx.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
    ctx.globalAlpha = 0.35;
    for (const group of this.stage.scene.view.groups.values()) {
      ctx.fillStyle = group.color || theme.edge;
      ctx.fillRect(...group.bounding);
    }
    ctx.globalAlpha = 1;
    for (const { node, bounds, id } of this.stage.scene.items.values()) {
      ctx.fillStyle = this.stage.session.selection.selected.nodes.has(id) ? theme.accent : node.bgcolor && theme.dark ? bodyColour(node, theme) : theme.soft;
      ctx.fillRect(bounds[0], bounds[1], Math.max(bounds[2] - bounds[0], 2 / scale), Math.max(bounds[3] - bounds[1], 2 / scale));
    }
    ctx.strokeStyle = theme.accent;
    ctx.lineWidth = 1.5 / scale;
    ctx.strokeRect(...seen);
  }

  destroy() {
    clearTimeout(this.#due);
    for (const stop of this.stops) stop();
    this.element.remove();
  }
}
