// Definitions and graphs the tests share.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { addNode } from "../../web/core/commands/nodes.js";
import { connect } from "../../web/core/commands/links.js";
import { Definitions } from "../../web/core/definitions.js";
import { Document } from "../../web/core/document.js";

const sampler = {
  model: ["MODEL"],
  seed: ["INT", { default: 0, min: 0, max: 1e15, control_after_generate: true }],
  steps: ["INT", { default: 20, min: 1 }],
  cfg: ["FLOAT", { default: 8 }],
  sampler_name: [["euler", "ddim"]],
  positive: ["CONDITIONING"],
  latent_image: ["LATENT"],
};
const entry = (required, output, more = {}) => ({
  input: { required, ...more.input },
  input_order: { required: Object.keys(required), ...(more.input?.optional ? { optional: Object.keys(more.input.optional) } : {}) },
  output,
  output_name: output,
  display_name: more.title,
  output_node: output.length === 0,
});

export const objectInfo = {
  Loader: entry({ name: [["a.safetensors", "b.safetensors"]] }, ["MODEL", "CLIP", "VAE"], { title: "Load Model" }),
  Encode: entry({ text: ["STRING", { multiline: true, dynamicPrompts: true }], clip: ["CLIP"] }, ["CONDITIONING"]),
  Blank: entry({ width: ["INT", { default: 512 }], height: ["INT", { default: 256 }] }, ["LATENT"]),
  Sample: entry(sampler, ["LATENT"]),
  Decode: entry({ samples: ["LATENT"], vae: ["VAE"] }, ["IMAGE"]),
  Picture: entry({ image: ["COMBO", { options: ["x.png"], image_upload: true }] }, ["IMAGE", "MASK"]),
  Mix: entry({ one: ["IMAGE"], two: ["IMAGE"], amount: ["FLOAT", { default: 0.5 }] }, ["IMAGE"], { input: { optional: { mask: ["MASK"] } } }),
  Number: entry({ value: ["INT", {}] }, ["INT"]),
  SaveImage: entry({ images: ["IMAGE"], filename_prefix: ["STRING", { default: "out" }] }, []),
  Forced: entry({ before: ["STRING", { forceInput: true }], number: ["INT", { default: 3 }], seed: ["INT", { forceInput: true }] }, ["INT"]),
  Any: entry({ anything: ["*"] }, ["*"]),
  List: entry({ values: ["FLOATLIST"], seed: ["INT"] }, ["INT"]),
};
export const definitions = new Definitions(objectInfo, ["FLOATLIST"]);

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
export function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A text-to-image graph: 1 Loader, 2 Encode, 3 Blank, 4 Sample, 5 Decode, 6 SaveImage. */
export function textToImage() {
  const doc = new Document();
  for (const type of ["Loader", "Encode", "Blank", "Sample", "Decode", "SaveImage"]) add(doc, type);
  link(doc, 1, "CLIP", 2, "clip");
  link(doc, 1, "MODEL", 4, "model");
  link(doc, 2, "CONDITIONING", 4, "positive");
  link(doc, 3, "LATENT", 4, "latent_image");
  link(doc, 4, "LATENT", 5, "samples");
  link(doc, 1, "VAE", 5, "vae");
  link(doc, 5, "IMAGE", 6, "images");
  return doc;
}

export function add(doc, type, more = {}, graph = "root") {
  return addNode(doc, graph, type, definitions.get(type), more);
}

/** Link by the names of the sockets; a widget gets a socket. */
export function link(doc, from, output, to, input, graph = "root") {
  const view = doc.graph(graph);
  const slot = view.node(from).outputs.findIndex((each) => each.name === output);
  const at = view.inputIndex(to, input);
  const type = definitions.get(view.node(to).type)?.inputs.find((each) => each.name === input)?.type ?? "*";
  return connect(doc, graph, { node: from, slot }, { node: to, slot: at >= 0 ? at : { name: input, type } });
}

/** A file of version 0.4 whose node 5 is a subgraph (an Encode and a Sample inside, `text` and `steps` promoted). */
export function withSubgraph() {
  const inner = "11111111-2222-4333-8444-555555555555";
  return {
    id: "f", revision: 0, last_node_id: 9, last_link_id: 9, version: 0.4, config: {}, extra: { ds: { scale: 1, offset: [0, 0] } }, groups: [],
    nodes: [
      { id: 1, type: "Loader", pos: [0, 0], size: [200, 90], mode: 0, outputs: [out("MODEL", [1]), out("CLIP", [2]), out("VAE", [])], widgets_values: ["b.safetensors"] },
      { id: 3, type: "Blank", pos: [0, 200], size: [200, 90], mode: 0, outputs: [out("LATENT", [3])], widgets_values: [64, 32] },
      {
        id: 5, type: inner, pos: [300, 0], size: [200, 90], mode: 0, title: "Inner",
        inputs: [into("model", "MODEL", 1), into("clip", "CLIP", 2), into("latent", "LATENT", 3), { ...into("text", "STRING", null), widget: { name: "text" } }, { ...into("steps", "INT", null), widget: { name: "steps" } }],
        outputs: [out("LATENT", [4])], widgets_values: ["a cat", 7],
      },
      { id: 6, type: "Any", pos: [600, 0], size: [100, 50], mode: 0, inputs: [into("anything", "*", 4)], outputs: [out("*", [])] },
    ],
    links: [[1, 1, 0, 5, 0, "MODEL"], [2, 1, 1, 5, 1, "CLIP"], [3, 3, 0, 5, 2, "LATENT"], [4, 5, 0, 6, 0, "LATENT"]],
    definitions: {
      subgraphs: [
        {
          id: inner, version: 1, name: "Inner", revision: 0, config: {}, state: { lastGroupId: 0, lastNodeId: 9, lastLinkId: 9, lastRerouteId: 0 },
          inputNode: { id: -10, bounding: [0, 0, 1, 1] }, outputNode: { id: -20, bounding: [9, 0, 1, 1] }, widgets: [], groups: [], extra: {},
          inputs: [side("model", "MODEL", [1]), side("clip", "CLIP", [2]), side("latent", "LATENT", [3]), side("text", "STRING", [4]), side("steps", "INT", [5])],
          outputs: [side("LATENT", "LATENT", [7])],
          nodes: [
            { id: 2, type: "Encode", pos: [0, 0], size: [200, 90], mode: 0, inputs: [into("clip", "CLIP", 2), { ...into("text", "STRING", 4), widget: { name: "text" } }], outputs: [out("CONDITIONING", [6])], widgets_values: ["inside"] },
            {
              id: 4, type: "Sample", pos: [300, 0], size: [200, 90], mode: 0,
              inputs: [into("model", "MODEL", 1), into("positive", "CONDITIONING", 6), into("latent_image", "LATENT", 3), { ...into("steps", "INT", 5), widget: { name: "steps" } }],
              outputs: [out("LATENT", [7])], widgets_values: [5, "fixed", 20, 8, "euler"],
            },
          ],
          links: [obj(1, -10, 0, 4, 0, "MODEL"), obj(2, -10, 1, 2, 0, "CLIP"), obj(3, -10, 2, 4, 2, "LATENT"), obj(4, -10, 3, 2, 1, "STRING"), obj(5, -10, 4, 4, 3, "INT"), obj(6, 2, 0, 4, 1, "CONDITIONING"), obj(7, 4, 0, -20, 0, "LATENT")],
        },
      ],
    },
  };
}
export const out = (type, links) => ({ name: type, type, links });
export const into = (name, type, id) => ({ name, type, link: id });
const side = (name, type, linkIds) => ({ id: `id-${name}`, name, type, linkIds });
const obj = (id, origin_id, origin_slot, target_id, target_slot, type) => ({ id, origin_id, origin_slot, target_id, target_slot, type });

/** The reference files beside the repository, where there are any. */
export const shared = fileURLToPath(new URL("../../../shared/", import.meta.url));
export const absent = existsSync(`${shared}workflows`) ? false : `no ${shared}workflows here`;
export const sharedJson = (name) => JSON.parse(readFileSync(shared + name, "utf8"));
