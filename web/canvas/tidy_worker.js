// The layout itself, in a thread of its own.

// @ts-ignore: a library as its authors publish it
import { Graph, layout } from "../vendor/dagre/dagre.esm.js";

/** @param {{data: {nodes: readonly {width: number, height: number}[], links: readonly (readonly number[])[]}}} event */
self.onmessage = ({ data: { nodes, links } }) => {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 36, ranksep: 70, ranker: nodes.length > 400 ? "longest-path" : "network-simplex" });
  graph.setDefaultEdgeLabel(() => ({}));
  nodes.forEach((size, i) => graph.setNode(String(i), { ...size }));
  links.forEach(([from, to], i) => graph.setEdge(String(from), String(to), {}, String(i)));
  layout(graph);
  self.postMessage(nodes.map(({ width, height }, i) => {
    const { x, y } = graph.node(String(i));
    return [x - width / 2, y - height / 2];
  }));
};
