// A picture, sound or film from the server's folders or from here: choose, upload, take with the camera, drop or paste. What is chosen is shown.

import { make } from "../canvas/dom.js";
import { annotated } from "../canvas/transfer.js";
import { t } from "../shell/i18n.js";
import { fileOf } from "./file.js";
import { kind, register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */
/** @typedef {"image" | "video" | "audio"} Media */

const LINE = 20;

/** @param {WidgetContext["input"]} input @returns {Media | null} */
function mediaOf({ options }) {
  return options.image_upload === true || options.animated_image_upload === true ? "image" : options.video_upload === true ? "video" : options.audio_upload === true ? "audio" : null;
}

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  host.dataset.tall = "";
  const media = mediaOf(context.input) ?? "image";
  const line = make("div", "line");
  const row = make("div", "combo");
  const chosen = /** @type {import("./registry.js").WidgetKind} */ (kind("COMBO")).create(row, context);
  const file = make("input", "", null, { type: "file", accept: `${media}/*`, hidden: "", tabindex: "-1", "aria-hidden": "true" });
  const upload = make("button", "tool", "⇪", { type: "button", title: t("Upload a file"), "aria-label": t("Upload a file") });
  const show = make("div", "shown");
  const words = make("p", "note", "");
  line.append(row, upload);
  host.append(line, show, file);
  upload.addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const [taken] = file.files ?? [];
    file.value = "";
    if (taken) await send(taken, taken.name);
  });
  if (media === "image") {
    const mask = make("button", "tool", "◐", { type: "button", title: t("Draw a mask"), "aria-label": t("Draw a mask") });
    mask.addEventListener("click", async () => {
      const { openMaskEditor } = await import("./mask_editor.js");
      openMaskEditor(context.session.api, fileOf(context.value, folder()), (ref) => context.set(annotated(ref)));
    });
    const camera = make("button", "tool", "◉", { type: "button", title: t("Take a picture"), "aria-label": t("Take a picture") });
    camera.addEventListener("click", async () => (await import("./capture.js")).takePicture((blob) => send(blob, `camera-${Date.now()}.png`)));
    line.append(camera, mask);
  }
  const folder = () => (typeof context.input.options.image_folder === "string" ? context.input.options.image_folder : "input");
  /** @param {Blob} blob @param {string} name */
  const send = async (blob, name) => {
    words.textContent = t("Uploading …");
    show.replaceChildren(words);
    shown = "";
    try {
      const value = annotated(await context.session.api.upload(blob, name));
      if (value === context.value) display();
      else context.set(value);
    } catch (error) {
      words.textContent = error instanceof Error ? error.message : String(error);
    }
  };
  let shown = "";
  const display = () => {
    const value = String(context.value ?? "");
    const ref = fileOf(value, folder());
    const key = `${value} ${stamp}`;
    if (key === shown) return;
    shown = key;
    if (!ref.filename) {
      words.textContent = t("Drop a file here");
      return show.replaceChildren(words);
    }
    const url = context.session.api.viewUrl(ref);
    const gone = () => {
      words.textContent = t("{name} is not there.", { name: ref.filename });
      show.replaceChildren(words);
    };
    if (media === "image") {
      const image = make("img", "", null, { alt: ref.filename, draggable: "false", decoding: "async" });
      image.addEventListener("error", gone);
      image.addEventListener("dblclick", async () => (await import("../canvas/viewer.js")).openViewer([{ url, filename: ref.filename }]));
      image.src = context.session.api.viewUrl(ref, "webp;80");
      show.replaceChildren(image);
    } else {
      const player = make(media, "", null, { src: `${url}&or_empty=1`, controls: "", preload: "metadata", "aria-label": ref.filename });
      player.addEventListener("error", gone);
      show.replaceChildren(player);
    }
  };
  let stamp = 0;
  return {
    /** @param {unknown} value @param {WidgetContext} now */
    update(value, now) {
      chosen.update(value, now);
      upload.disabled = context.fed;
      display();
    },
    destroy() {
      chosen.destroy();
      show.replaceChildren();
    },
  };
}

/** @type {import("./registry.js").WidgetKind} */
const widget = { create, height: LINE + 120, grows: true };
register("upload", widget, (input) => input.type === "COMBO" && mediaOf(input) !== null);
