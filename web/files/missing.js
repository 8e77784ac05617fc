// What a workflow needs and the server lacks: node types, and files of choices (models, pictures).

import { readWidgets } from "../core/widgets.js";
import { isVirtual } from "../format/scope.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {{type: string, pack: string, source: string, nodes: {graph: string, id: Id}[]}} MissingType  `pack` and `source`: what the file says of where the node is from */
/** @typedef {{name: string, input: string, folder: string, url: string, hash: string, near: string[], choices: readonly unknown[], places: {graph: string, id: Id, type: string}[]}} MissingFile */

/** @param {Pick<Session, "document" | "definitions">} session @returns {{types: MissingType[], files: MissingFile[]}} */
export function findMissing({ document, definitions }) {
  /** @type {Map<string, MissingType>} */
  const types = new Map();
  /** @type {Map<string, MissingFile>} */
  const files = new Map();
  /** @type {any[]} models the file lists for all of its nodes */
  const listed = /** @type {any} */ (document.root.record).models ?? [];
  for (const graph of ["root", ...document.definitions]) {
    for (const node of document.graph(graph).nodes.values()) {
      if (isVirtual(node) || document.hasGraph(node.type)) continue;
      const definition = definitions.get(node.type);
      if (!definition) {
        const entry = types.get(node.type) ?? { type: node.type, pack: String(node.properties?.cnr_id ?? node.properties?.aux_id ?? ""), source: sourceOf(node.properties?.aux_id), nodes: [] };
        entry.nodes.push({ graph, id: node.id });
        types.set(node.type, entry);
        continue;
      }
      const values = readWidgets(node, definition);
      /** @type {any[]} */
      const known = [...(Array.isArray(node.properties?.models) ? node.properties.models : []), ...(Array.isArray(listed) ? listed : [])];
      for (const input of definition.inputs) {
        const value = values.get(input.name);
        if (!input.widget || !input.choices || typeof value !== "string" || value === "" || input.choices.includes(value) || input.options.remote) continue;
        const slot = document.graph(graph).inputIndex(node.id, input.name);
        if (slot >= 0 && document.graph(graph).linked.input(node.id, slot)) continue;
        const key = `${input.name}\n${value}`;
        const about = known.find(({ name }) => name === value);
        const entry = files.get(key) ?? { name: value, input: input.name, folder: String(about?.directory ?? FOLDERS[input.name] ?? ""), url: String(about?.url ?? ""), hash: String(about?.hash ?? ""), near: nearest(value, input.choices), choices: input.choices, places: [] };
        entry.places.push({ graph, id: node.id, type: node.type });
        files.set(key, entry);
      }
    }
  }
  return { types: [...types.values()], files: [...files.values()] };
}

/** The page of a pack that a file names as "owner/repository" on GitHub. @param {unknown} name */
function sourceOf(name) {
  return typeof name === "string" && /^[\w.-]+\/[\w.-]+$/.test(name) ? `https://github.com/${name}` : "";
}

/** Where files belong that inputs name. @type {Readonly<Record<string, string>>} */
const FOLDERS = {
  ckpt_name: "checkpoints", lora_name: "loras", vae_name: "vae", control_net_name: "controlnet", unet_name: "diffusion_models", clip_name1: "text_encoders", clip_name2: "text_encoders", clip_name3: "text_encoders",
  style_model_name: "style_models", hypernetwork_name: "hypernetworks", gligen_name: "gligen",
};

/** Those of the choices that look most like a name. @param {string} name @param {readonly unknown[]} choices @param {number} [most] @returns {string[]} */
export function nearest(name, choices, most = 5) {
  const wanted = pieces(name);
  return choices
    .filter((choice) => typeof choice === "string")
    .map((choice) => ({ choice, score: alike(wanted, pieces(choice)) }))
    .filter(({ score }) => score > 0.25)
    .sort((a, b) => b.score - a.score)
    .slice(0, most)
    .map(({ choice }) => choice);
}

/** The pairs of letters of a file name without folder and ending. @param {string} text */
function pieces(text) {
  const plain = (text.split(/[\\/]/).at(-1) ?? "").replace(/\.[a-z0-9]+$/i, "").toLowerCase().replace(/[^a-z0-9]/g, "");
  return new Set(Array.from({ length: Math.max(0, plain.length - 1) }, (_, i) => plain.slice(i, i + 2)));
}

/** The share of pairs two names have in common (Dice). @param {Set<string>} a @param {Set<string>} b */
function alike(a, b) {
  let common = 0;
  for (const each of a) if (b.has(each)) common++;
  return a.size + b.size ? (2 * common) / (a.size + b.size) : 0;
}
