// One of several: a button with a list to search. Models show their preview where the server has one.

import { make } from "../canvas/dom.js";
import { BRANCHES } from "../core/definitions.js";
import { rank } from "../canvas/fuzzy.js";
import { openPalette } from "../canvas/palette.js";
import { t } from "../shell/i18n.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  const row = make("div", "row");
  const button = make("button", "pick", null, { type: "button", "aria-haspopup": "listbox" });
  row.append(make("span", "", context.label), button);
  host.append(row);
  const choices = () => context.input.choices ?? [];
  const several = context.input.options.multiselect === true || Boolean(context.input.options.multi_select);
  const taken = () => (Array.isArray(context.value) ? context.value : context.value === "" || context.value === null || context.value === undefined ? [] : [context.value]);
  /** @param {unknown} item */
  const toggled = (item) => (taken().includes(item) ? taken().filter((each) => each !== item) : choices().filter((each) => each === item || taken().includes(each)));
  const open = () => {
    const box = row.getBoundingClientRect();
    openPalette({
      label: t("Choose {name}", { name: context.label }),
      at: { x: box.left, y: box.bottom + 2 },
      current: several ? last : context.value,
      note: several || choices().includes(context.value) ? undefined : t("{value} is not among the choices.", { value: String(context.value) }),
      find: (query) =>
        query === ""
          ? choices().map((item) => ({ item, label: String(item), picture: pictureOf(context, item), detail: several && taken().includes(item) ? "✓" : undefined }))
          : rank(query, choices(), (item) => [String(item)], 200).map(({ item, at }) => ({ item, label: String(item), at, picture: pictureOf(context, item), detail: several && taken().includes(item) ? "✓" : undefined })),
      take: (value) => {
        if (!several) return context.set(value);
        last = value;
        context.set(toggled(value));
        open(); // another one may follow
      },
    });
  };
  /** @type {unknown} */
  let last;
  button.addEventListener("click", open);
  button.addEventListener("keydown", (event) => {
    if ((event.key !== "ArrowUp" && event.key !== "ArrowDown") || several) return;
    const all = choices();
    const next = all[all.indexOf(context.value) + (event.key === "ArrowUp" ? -1 : 1)];
    if (next !== undefined) context.set(next, { merge: true });
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    update() {
      // a file that was uploaded a moment ago is newer than the list; the picture below tells whether it is there
      const known = (several ? taken().every((each) => choices().includes(each)) : choices().includes(context.value)) || context.input.options.image_upload === true;
      button.textContent = several ? taken().join(", ") || t("None") : String(context.value ?? "");
      button.classList.toggle("bad", !known && !context.fed);
      button.disabled = context.fed;
      button.title = known ? button.textContent : t("{value} is not among the choices.", { value: String(context.value) });
      button.setAttribute("aria-label", `${context.label}: ${button.textContent}`);
    },
    destroy() {},
  };
}

/** Folders of model files by the input that names one. @type {Readonly<Record<string, string>>} */
const FOLDERS = {
  ckpt_name: "checkpoints", lora_name: "loras", vae_name: "vae", unet_name: "diffusion_models", control_net_name: "controlnet", clip_name: "text_encoders",
};

/** @param {WidgetContext} context @param {unknown} item */
function pictureOf({ input, session }, item) {
  if (typeof item !== "string") return undefined;
  if (input.options.image_upload === true || input.options.image_folder) {
    return String(session.api.url("view", { filename: item.split("/").at(-1), subfolder: item.split("/").slice(0, -1).join("/"), type: String(input.options.image_folder ?? "input"), preview: "webp;60", or_empty: true }));
  }
  const folder = FOLDERS[input.name];
  return folder && session.settings.get("canvas.modelPictures") ? String(session.api.url(`experiment/models/preview/${folder}/0/${encodeURIComponent(item)}`, { or_empty: true })) : undefined;
}

register("COMBO", { create });
register(BRANCHES, { create });
