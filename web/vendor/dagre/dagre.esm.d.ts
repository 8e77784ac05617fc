/** Only what is used here; the library brings no types in this form. */
export class Graph { constructor(options?: object); [name: string]: any }
export function layout(graph: Graph, options?: object): void;
declare const dagre: { Graph: typeof Graph; layout: typeof layout; graphlib: { Graph: typeof Graph } };
export default dagre;
