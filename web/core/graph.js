// Pure functions on graphs in API format: {id: {class_type, inputs, _meta?}}, a link being [id, slot].

/** @typedef {{id: string, input: string}} Place  an input of a node */

const isLink = (value) => Array.isArray(value) && value.length === 2 && typeof value[0] === "string";

export function isGraph(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value)
    && Object.values(value).every((node) => node && typeof node.class_type === "string");
}

/** What a person calls node `id`. */
export function title(graph, id, info = {}) {
  const node = graph[id];
  if (!node) return `node ${id}`;
  return node._meta?.title || info[node.class_type]?.display_name || node.class_type;
}

export function get(graph, { id, input }) {
  return graph[id].inputs[input];
}

/** A copy of the graph with one input changed. */
export function set(graph, { id, input }, value) {
  const node = graph[id];
  return { ...graph, [id]: { ...node, inputs: { ...node.inputs, [input]: value } } };
}

/** Walk up the links from an input to the first node that has `name` as a plain value; null when there is none. */
function upstream(graph, from, name) {
  const seen = new Set();
  const waiting = [from];
  while (waiting.length) {
    const link = waiting.shift();
    if (!isLink(link) || seen.has(link[0]) || !graph[link[0]]) continue;
    seen.add(link[0]);
    const inputs = graph[link[0]].inputs ?? {};
    if (name in inputs && !isLink(inputs[name])) return { id: link[0], input: name };
    waiting.push(...Object.values(inputs).filter(isLink));
  }
  return null;
}

/** The inputs most graphs are steered by, found by following the links of the first sampler. @returns {Record<string, Place|null>} */
export function handles(graph) {
  const entries = Object.entries(graph);
  const withInput = (name) => {
    const found = entries.find(([, node]) => name in (node.inputs ?? {}) && !isLink(node.inputs[name]));
    return found ? { id: found[0], input: name } : null;
  };
  const sampler = entries.find(([, node]) => isLink(node.inputs?.positive) && "latent_image" in node.inputs)?.[1].inputs;
  return {
    prompt: sampler ? upstream(graph, sampler.positive, "text") : withInput("text"),
    negative: sampler ? upstream(graph, sampler.negative, "text") : null,
    model: withInput("ckpt_name") ?? withInput("unet_name"),
    width: sampler ? upstream(graph, sampler.latent_image, "width") : withInput("width"),
    height: sampler ? upstream(graph, sampler.latent_image, "height") : withInput("height"),
    seed: withInput("seed") ?? withInput("noise_seed"),
    steps: withInput("steps"),
    cfg: withInput("cfg"),
    sampler: withInput("sampler_name"),
    scheduler: withInput("scheduler"),
  };
}

/** The text a picture was asked for with, for lists and alternative texts. */
export function caption(graph) {
  const place = isGraph(graph) ? handles(graph).prompt : null;
  return place ? String(get(graph, place)) : "A graph without a prompt";
}

/** Kind and options of an input as /object_info publishes it: [kind, options]. */
export function declared(info, graph, { id, input }) {
  const inputs = info[graph[id].class_type]?.input ?? {};
  const [kind, options] = inputs.required?.[input] ?? inputs.optional?.[input] ?? ["STRING", {}];
  const choices = Array.isArray(kind) ? kind : kind === "COMBO" ? options?.options ?? [] : null;
  return { kind, options: options ?? {}, choices };
}
