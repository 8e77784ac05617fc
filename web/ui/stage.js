// The picture in the middle (previews while it grows), the gallery of this session, and the problems above them.
import { byId, make } from "./dom.js";

export class Stage {
  #preview = null;

  constructor(server) {
    this.server = server;
    this.frame = byId("frame");
    this.gallery = byId("gallery");
    this.problems = byId("problems");
  }

  preview(blob) {
    const previous = this.#preview;
    this.#preview = URL.createObjectURL(blob);
    let image = this.frame.querySelector("img[data-preview]");
    if (!image) {
      image = make("img", { alt: "Preview of the picture in the making" });
      image.dataset.preview = "";
      this.frame.replaceChildren(image);
    }
    image.src = this.#preview;
    if (previous) URL.revokeObjectURL(previous);
  }

  show(images, words) {
    const pictures = images.map((image) => make("img", { src: this.server.imageUrl(image), alt: words, title: image.filename }));
    if (pictures.length) this.frame.replaceChildren(...pictures);
    for (const image of images) {
      const href = this.server.imageUrl(image);
      if ([...this.gallery.querySelectorAll("a")].some((a) => a.href === href)) continue;
      const thumb = make("img", { src: this.server.imageUrl(image, "webp;80"), alt: words, loading: "lazy" });
      this.gallery.prepend(make("li", {}, make("a", { href, target: "_blank", rel: "noopener" }, thumb)));
    }
  }

  say(lines) {
    const box = lines.length > 1 ? make("ul", {}, ...lines.map((line) => make("li", {}, line))) : make("p", {}, ...lines);
    this.problems.replaceChildren(...(lines.length ? [box] : []));
  }
}
