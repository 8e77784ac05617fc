// Pictures from the camera and sound from the microphone, taken in the page and uploaded as files.

import { make } from "../canvas/dom.js";
import { annotated } from "../canvas/transfer.js";
import { t } from "../shell/i18n.js";
import { fileOf } from "./file.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

const LINE = 20;

/** Why the browser gives no picture or sound, as a sentence. @param {unknown} error */
function whyNot(error) {
  const name = error instanceof Error ? error.name : "";
  if (!navigator.mediaDevices) return t("The browser gives the camera and the microphone only to pages of this machine or with https.");
  if (name === "NotAllowedError") return t("The browser was told not to give the camera or microphone to this page. Allow it in its address bar.");
  if (name === "NotFoundError") return t("There is no camera or microphone.");
  return error instanceof Error ? error.message : String(error);
}

/**
 * Show what the camera sees until a picture is taken.
 * @param {(picture: Blob) => void} taken
 * @returns {Promise<void>}
 */
export async function takePicture(taken) {
  const before = document.activeElement;
  const dialog = make("dialog", "lightbox", null, { "aria-label": t("Camera") });
  const frame = make("div", "lightbox-frame");
  const video = make("video", "seen", null, { autoplay: "", playsinline: "", "aria-label": t("What the camera sees") });
  video.muted = true;
  const foot = make("div", "lightbox-foot");
  const words = make("p", "", t("Waiting for the camera …"), { role: "status" });
  const take = make("button", "primary", t("Take the picture"), { type: "button" });
  const cancel = make("button", "", t("Cancel"), { type: "button" });
  take.disabled = true;
  frame.append(video);
  foot.append(words, cancel, take);
  dialog.append(frame, foot);
  /** @type {MediaStream | null} */
  let stream = null;
  let open = true;
  dialog.addEventListener("close", () => {
    open = false;
    stream?.getTracks().forEach((track) => track.stop());
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  });
  cancel.addEventListener("click", () => dialog.close());
  take.addEventListener("click", () => {
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [video.videoWidth, video.videoHeight];
    sheet.getContext("2d")?.drawImage(video, 0, 0);
    sheet.toBlob((blob) => {
      if (blob) taken(blob);
      dialog.close();
    }, "image/png");
  });
  document.body.append(dialog);
  dialog.showModal();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
    if (!open) return stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream;
    await video.play();
    words.textContent = `${video.videoWidth} × ${video.videoHeight}`;
    take.disabled = false;
    take.focus();
  } catch (error) {
    words.textContent = whyNot(error);
  }
}

/**
 * A widget that takes a file in the page: a button, and what was taken last.
 * @param {HTMLElement} host
 * @param {WidgetContext} context
 * @param {{label: string, act: (button: HTMLButtonElement, done: (taken: Blob) => void, fail: (error: unknown) => void) => void, name: (type: string) => string, shows: "img" | "audio"}} kind
 */
function create(host, context, { label, act, name, shows }) {
  host.dataset.tall = "";
  const line = make("div", "line");
  const button = make("button", "tool wide", label, { type: "button", "aria-label": `${context.label}: ${label}` });
  const show = make("div", "shown");
  const words = make("p", "note", "", { role: "status" });
  line.append(button);
  host.append(line, show);
  /** @param {string} text */
  const say = (text) => {
    words.textContent = text;
    show.replaceChildren(words);
  };
  let shown = "";
  button.addEventListener("click", () => act(button, async (taken) => {
    shown = "";
    say(t("Uploading …"));
    try {
      context.set(annotated(await context.session.api.upload(taken, name(taken.type), { subfolder: "captured", type: "input" })));
    } catch (error) {
      say(error instanceof Error ? error.message : String(error));
    }
  }, (error) => say(whyNot(error))));
  return {
    update() {
      const value = typeof context.value === "string" ? context.value : "";
      button.disabled = context.fed;
      if (value === shown && show.childNodes.length) return;
      shown = value;
      if (!value) return say(shows === "img" ? t("No picture yet") : t("Nothing recorded yet"));
      const ref = fileOf(value);
      const gone = () => say(t("{name} is not there.", { name: ref.filename }));
      const element = shows === "img" ? make("img", "", null, { alt: ref.filename, draggable: "false" }) : make("audio", "", null, { controls: "", preload: "metadata", "aria-label": ref.filename });
      element.addEventListener("error", gone);
      element.src = shows === "img" ? context.session.api.viewUrl(ref, "webp;80") : `${context.session.api.viewUrl(ref)}&or_empty=1`;
      show.replaceChildren(element);
    },
    destroy() {
      show.replaceChildren();
    },
  };
}

register("WEBCAM", {
  create: (host, context) => create(host, context, { label: t("Take a picture"), shows: "img", name: () => `camera-${Date.now()}.png`, act: (_button, done) => void takePicture(done) }),
  height: LINE + 120,
  grows: true,
});

register("AUDIO_RECORD", {
  create: (host, context) => {
    /** @type {MediaRecorder | null} */
    let recorder = null;
    const widget = create(host, context, {
      label: t("Record"), shows: "audio", name: (type) => `recorded-${Date.now()}.${type.includes("ogg") ? "ogg" : type.includes("mp4") ? "m4a" : "webm"}`,
      act: async (button, done, fail) => {
        if (recorder) return recorder.stop();
        try {
          const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
          /** @type {Blob[]} */
          const parts = [];
          recorder = new MediaRecorder(stream);
          recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
          recorder.addEventListener("stop", () => {
            stream.getTracks().forEach((track) => track.stop());
            const type = recorder?.mimeType ?? "audio/webm";
            recorder = null;
            button.textContent = t("Record");
            button.classList.remove("on");
            done(new Blob(parts, { type }));
          });
          recorder.start();
          button.textContent = t("Stop");
          button.classList.add("on");
        } catch (error) {
          fail(error);
        }
      },
    });
    return {
      update: widget.update,
      destroy() {
        recorder?.stop();
        widget.destroy();
      },
    };
  },
  height: LINE + 60,
});
