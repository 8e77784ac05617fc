// A model file becomes the node that loads it.

import { addNode, setWidget } from "../core/commands/nodes.js";
import { t } from "../shell/i18n.js";
import { toast } from "../shell/toast.js";

/** @typedef {import("../shell/app.js").App} App */

/** The node that people load each kind with, and its input; other kinds are found by what nodes offer. */
/** @type {Readonly<Record<string, readonly [string, string]>>} */
const LOADERS = {
  checkpoints: ["CheckpointLoaderSimple", "ckpt_name"],
  loras: ["LoraLoader", "lora_name"],
  vae: ["VAELoader", "vae_name"],
  controlnet: ["ControlNetLoader", "control_net_name"],
  diffusion_models: ["UNETLoader", "unet_name"],
  text_encoders: ["CLIPLoader", "clip_name"],
  clip_vision: ["CLIPVisionLoader", "clip_name"],
  upscale_models: ["UpscaleModelLoader", "model_name"],
  style_models: ["StyleModelLoader", "style_model_name"],
  hypernetworks: ["HypernetworkLoader", "hypernetwork_name"],
  gligen: ["GLIGENLoader", "gligen_name"],
  embeddings: ["CLIPTextEncode", "text"],
};

/**
 * @param {import("../core/definitions.js").Definitions} definitions @param {string} kind @param {string} name
 * @returns {readonly [string, string] | null} type of the node and its input
 */
export function loaderOf(definitions, kind, name) {
  const usual = LOADERS[kind];
  if (usual && definitions.get(usual[0])) return usual;
  for (const type of definitions.types) {
    const input = definitions.get(type)?.inputs.find(({ choices }) => choices?.includes(name));
    if (input) return [type, input.name];
  }
  return null;
}

/** @param {App} app @param {string} kind @param {string} name @param {readonly [number, number]} [at]  in the graph; the middle of what is on screen */
export function addModel(app, kind, name, at) {
  const session = app.workspace.active?.session;
  if (!session) return;
  const loader = loaderOf(session.definitions, kind, name);
  if (!loader) {
    toast(t("No node of this server loads {name}.", { name }), { kind: "bad", hint: t("The folder {kind} may belong to a node pack that is not installed.", { kind }) });
    return;
  }
  const [type, input] = loader;
  const definition = session.definitions.get(type);
  const value = kind === "embeddings" ? `embedding:${name.replace(/\.[^.]*$/, "")}` : name;
  const place = at ?? middle(app);
  const id = session.document.edit("Add model", () => {
    const added = addNode(session.document, session.graph, type, definition, { pos: [place[0], place[1]] });
    if (definition) setWidget(session.document, session.graph, added, definition, input, value);
    return added;
  });
  session.selection.set([id], [], session.graph);
}

/** @param {App} app @returns {readonly [number, number]} */
function middle(app) {
  const box = document.querySelector(".stage")?.getBoundingClientRect();
  return (box && app.view.canvas?.toGraph(box.left + box.width / 2, box.top + box.height / 2)) || [0, 0];
}
