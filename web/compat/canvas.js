// `app.canvas` for scripts of node packs: where the graph is looked at from, what is selected, and little else.

import { missing, watched } from "./report.js";
import { NODE_COLORS } from "./litegraph.js";

/** @param {import("./app.js").PackApp} app @returns {any} */
export function createCanvas(app) {
  const stage = () => /** @type {any} */ (app.canvasHandle())?.stage ?? null;
  const session = () => app.session;
  const ds = {
    get scale() {
      return stage()?.camera.scale ?? 1;
    },
    set scale(scale) {
      const now = stage();
      if (!now) return;
      now.camera.scale = scale;
      now.moved();
    },
    get offset() {
      const camera = stage()?.camera ?? { x: 0, y: 0 };
      return new Proxy([-camera.x, -camera.y], {
        set(target, key, value) {
          /** @type {any} */ (target)[key] = value;
          camera.x = -target[0];
          camera.y = -target[1];
          stage()?.moved();
          return true;
        },
      });
    },
    set offset([x, y]) {
      const now = stage();
      if (!now) return;
      Object.assign(now.camera, { x: -x, y: -y });
      now.moved();
    },
    get visible_area() {
      return stage()?.camera.visible() ?? [0, 0, 0, 0];
    },
    get element() {
      return stage()?.canvas;
    },
    /** @param {number} scale */
    changeScale(scale) {
      ds.scale = scale;
    },
    reset() {
      app.actions.run("view.zoomReal");
    },
    /** @param {readonly number[]} place */
    convertOffsetToCanvas: ([x, y]) => [(x + ds.offset[0]) * ds.scale, (y + ds.offset[1]) * ds.scale],
    /** @param {readonly number[]} place */
    convertCanvasToOffset: ([x, y]) => [x / ds.scale - ds.offset[0], y / ds.scale - ds.offset[1]],
  };
  const selected = () => {
    const { graph, nodes } = session()?.selection.selected ?? { graph: "root", nodes: new Set() };
    return [...nodes].flatMap((id) => app.host?.graph(graph).getNodeById(id) ?? []);
  };
  /** @param {any[]} nodes @param {boolean} [add] */
  const select = (nodes, add = false) => {
    const now = session();
    if (now) now.selection.set([...(add ? now.selection.selected.nodes : []), ...nodes.map((node) => node.id)], [], now.graph);
  };
  let mouse = [0, 0];
  addEventListener("pointermove", ({ clientX, clientY }) => (mouse = [clientX, clientY]), { passive: true });
  const known = {
    ds,
    get canvas() {
      return stage()?.canvas ?? document.createElement("canvas");
    },
    get ctx() {
      return stage()?.ctx;
    },
    get graph() {
      return app.host?.graph(session()?.graph ?? "root") ?? null;
    },
    get selected_nodes() {
      return Object.fromEntries(selected().map((node) => [node.id, node]));
    },
    get selectedItems() {
      return new Set(selected());
    },
    get current_node() {
      return selected()[0] ?? null;
    },
    get graph_mouse() {
      return stage()?.toGraph(mouse[0], mouse[1]) ?? [0, 0];
    },
    get mouse() {
      return mouse;
    },
    get visible_area() {
      return ds.visible_area;
    },
    node_over: null, connecting_links: null, connecting_node: null, editor_alpha: 1, read_only: false, allow_dragnodes: true, allow_interaction: true, allow_searchbox: true, links_render_mode: 2, render_shadows: true,
    low_quality: false, highquality_render: true, pointer_is_down: false, last_mouse: mouse, state: {}, default_connection_color_byType: {}, default_connection_color_byTypeOff: {}, default_link_color: "#9A9", node_widget: null, node_dragged: null, resizing_node: null,
    selectNode: (/** @type {any} */ node, /** @type {boolean} */ add) => select(node ? [node] : [], add),
    selectNodes: (/** @type {any} */ nodes) => select(nodes ? Object.values(nodes) : (app.graph?._nodes ?? [])),
    selectItems: (/** @type {any} */ nodes) => select([...(nodes ?? app.graph?._nodes ?? [])]),
    select: (/** @type {any} */ node) => select([node], true),
    deselectNode: (/** @type {any} */ node) => select(selected().filter((each) => each !== node)),
    deselectAllNodes: () => select([]),
    deselectAll: () => select([]),
    deleteSelectedNodes: () => app.actions.run("graph.delete"),
    deleteSelected: () => app.actions.run("graph.delete"),
    copyToClipboard: () => app.actions.run("graph.copy"),
    pasteFromClipboard: () => app.actions.run("graph.paste"),
    centerOnNode: (/** @type {any} */ node) => app.canvasHandle()?.centre(node.id),
    animateToBounds: () => app.canvasHandle()?.fit(),
    fitViewToSelectionAnimated: () => app.actions.run("view.fit"),
    bringToFront: (/** @type {any} */ node) => (select([node]), app.actions.run("graph.front")),
    setZoom: (/** @type {number} */ scale) => ds.changeScale(scale),
    setDirty: () => app.graph?.setDirtyCanvas(),
    setDirtyCanvas: () => app.graph?.setDirtyCanvas(),
    setGraph: (/** @type {any} */ graph) => app.canvasHandle()?.enter(graph.name),
    openSubgraph: (/** @type {any} */ graph) => app.canvasHandle()?.enter(graph.name ?? graph.id),
    draw: () => app.graph?.setDirtyCanvas(),
    resize() {},
    isNodeVisible: () => true,
    convertEventToCanvasOffset: (/** @type {any} */ event) => stage()?.toGraph(event.clientX, event.clientY) ?? [0, 0],
    convertOffsetToCanvas: ds.convertOffsetToCanvas,
    convertCanvasToOffset: ds.convertCanvasToOffset,
    adjustMouseEvent(/** @type {any} */ event) {
      const [x, y] = stage()?.toGraph(event.clientX, event.clientY) ?? [0, 0];
      Object.assign(event, { canvasX: x, canvasY: y });
    },
    getWidgetAtCursor: () => null,
    async prompt(/** @type {string} */ title, /** @type {string} */ value, /** @type {(value: string) => void} */ callback) {
      const { ask } = await import("../shell/dialog.js");
      const given = await ask(title, { label: title, value: String(value ?? ""), action: "OK" });
      if (given !== null) callback(given);
    },
    emitEvent() {},
    emitBeforeChange() {},
    emitAfterChange() {},
    processKey: undefined,
    node_colors: NODE_COLORS,
  };
  return new Proxy(watched(known, "app.canvas"), {
    set(target, key, value) {
      if (typeof value === "function") missing(`app.canvas.${String(key)} (replacing a part of the canvas)`);
      else if (key !== "ds") Reflect.set(target, key, value);
      return true;
    },
  });
}
