// A widget inside a subgraph shown on the nodes that stand for it.

import { addBoundarySlot } from "../core/commands/boundary.js";
import { connect } from "../core/commands/links.js";
import { INPUT_BOUNDARY } from "../core/records.js";

/** @typedef {import("./stage.js").Stage} Stage */

/** @param {Stage} stage @param {import("../core/records.js").Id} node @param {import("./face.js").FaceWidget} widget */
export function promote(stage, node, widget) {
  const { document: graph } = stage.session;
  const name = stage.scene.graph;
  graph.edit(`Show ${widget.label} outside`, () => {
    const slot = addBoundarySlot(graph, name, "inputs", widget.name, widget.input.type, { widget: true });
    connect(graph, name, { node: INPUT_BOUNDARY, slot }, { node, slot: { name: widget.name, type: widget.input.type } });
  });
  stage.say(`${widget.label} is shown on the subgraph`);
}
