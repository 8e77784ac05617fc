// For scripts of node packs; see ../../app.js.
export class ComfyPopup extends EventTarget {
  constructor(options, ...children) {
    super();
    this.element = document.createElement("div");
    this.element.append(...children);
  }
}
