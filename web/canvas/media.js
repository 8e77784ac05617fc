// What a node shows below its widgets: the picture in the making, then what it made.

import { make } from "./dom.js";

/** @typedef {import("../core/records.js").Id} Id */
/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("../run/state.js").NodeRun} NodeRun */
/** @typedef {import("../run/state.js").Output} Output */

const MOST_AT_ONCE = 16;

export class MediaView {
  #shown = "";

  /** @param {Stage} stage @param {HTMLElement} parent @param {Id} id */
  constructor(stage, parent, id) {
    this.stage = stage;
    this.id = id;
    this.element = make("div", "media");
    parent.append(this.element);
  }

  /** @param {Readonly<NodeRun>} run */
  show(run) {
    const key = run.preview ?? run.outputs.map(({ url, text }) => url + (text ?? "")).join("\n");
    if (key === this.#shown) return;
    this.#shown = key;
    if (run.preview) {
      const kept = this.element.querySelector("img.preview");
      if (kept instanceof HTMLImageElement) kept.src = run.preview;
      else this.element.replaceChildren(picture(run.preview, "Preview of the picture in the making", "preview"));
      return;
    }
    const pictures = run.outputs.filter(({ kind }) => kind === "image");
    this.element.classList.toggle("many", pictures.length > 1);
    this.element.replaceChildren(...run.outputs.slice(0, MOST_AT_ONCE).map((output) => this.#output(output, pictures)));
    if (run.outputs.length > MOST_AT_ONCE) this.element.append(make("p", "more", `and ${run.outputs.length - MOST_AT_ONCE} more`));
  }

  /** @param {Output} output @param {readonly Output[]} pictures */
  #output(output, pictures) {
    if (output.kind === "text") return make("pre", "said", output.text ?? "");
    if (output.kind === "audio" || output.kind === "video") return make(output.kind, "", null, { src: output.url, controls: "", preload: "metadata", "aria-label": output.filename });
    if (output.kind !== "image") return make("a", "file", output.filename, { href: output.url, download: output.filename });
    const button = make("button", "show", null, { type: "button", "aria-label": `Look at ${output.filename}` });
    button.append(picture(output.url, output.filename, ""));
    button.addEventListener("click", (event) => {
      if (event.detail === 1 && !event.altKey) return; // one click of the mouse is for selecting; two, or a key, opens
      this.stage.emit("view", { outputs: pictures, at: pictures.indexOf(output) });
    });
    button.addEventListener("dblclick", () => this.stage.emit("view", { outputs: pictures, at: pictures.indexOf(output) }));
    return button;
  }

  destroy() {
    this.element.remove();
  }
}

/** @param {string} url @param {string} words @param {string} className */
function picture(url, words, className) {
  const image = make("img", className, null, { alt: words, draggable: "false", decoding: "async" });
  image.src = url;
  return image;
}
