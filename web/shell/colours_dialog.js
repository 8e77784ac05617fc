// Making, bringing and giving away colour palettes. What is changed is on the page at once, with what it does to legibility.

import { downloadJson } from "../files/download.js";
import { parseJson } from "../files/json.js";
import { MOST_PALETTES, ROLES, plain, readPalette, readPalettes, weakPairs } from "./colour_palettes.js";
import { openDialog } from "./dialog.js";
import { el, freshId } from "./dom.js";
import { t } from "./i18n.js";
import { coloursOf, themeOf } from "./theme.js";
import { tellError, toast } from "./toast.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./colour_palettes.js").Base} Base */
/** @typedef {import("./colour_palettes.js").Palette} Palette */

const WEAK_SHOWN = 6;

/** @param {App} app */
export function openColours({ settings }) {
  const all = () => readPalettes(settings.get("palettes"));
  const chosen = () => all().find(({ name }) => themeOf(name) === settings.get("theme")) ?? null;
  /** Put a palette in the place of one, or add it, and wear it. @param {Palette} palette @param {Palette | null} [before] */
  const keep = (palette, before = null) => {
    const others = all().filter(({ name }) => name !== before?.name);
    settings.set("palettes", [...others, { ...palette, name: freeName(palette.name, others) }].sort((a, b) => a.name.localeCompare(b.name)));
    settings.set("theme", themeOf(freeName(palette.name, others)));
  };
  /** @param {Palette} palette @param {Palette | null} [before] */
  const add = (palette, before) => {
    if (!before && all().length >= MOST_PALETTES) toast(t("{n} palettes are kept at most. Delete one first.", { n: MOST_PALETTES }), { kind: "bad" });
    else keep(palette, before);
    draw();
  };
  /** @param {string} text @param {Palette | null} [before] */
  const read = (text, before) => {
    try {
      const { ignored, ...palette } = readPalette(parseJson(text));
      add(palette, before);
      if (ignored.length) toast(t("Left out, as it is no colour that is used here: {names}", { names: ignored.slice(0, 8).join(", ") }), { kind: "warn" });
    } catch (error) {
      tellError(error);
    }
  };
  const list = el("select", { attributes: { "aria-label": t("Colour palettes") }, on: { change: () => (settings.set("theme", list.value), draw()) } });
  const file = el("input", { class: "unseen", attributes: { type: "file", accept: ".json,application/json", "aria-label": t("Bring a palette from a file") } });
  file.addEventListener("change", async () => {
    const [first] = file.files ?? [];
    file.value = "";
    if (first) read(await first.text());
  });
  /** @param {string} label @param {() => void} click @param {string} [kind] */
  const button = (label, click, kind = "") => el("button", { class: kind, attributes: { type: "button" }, on: { click } }, label);
  const make = button(t("New from what is shown"), () => {
    const base = /** @type {Base} */ (document.documentElement.dataset.theme ?? "dark");
    add({ name: t("My colours"), base, colors: chosen()?.colors ?? { accent: coloursOf(base).accent } });
  });
  const place = el("div");

  const draw = () => {
    const palettes = all();
    const palette = chosen();
    list.replaceChildren(
      el("option", { attributes: { value: palette ? "system" : String(settings.get("theme")) }, set: { selected: !palette } }, t("None: a theme as it is")),
      ...palettes.map(({ name }) => el("option", { attributes: { value: themeOf(name) }, set: { selected: name === palette?.name } }, name)),
    );
    place.replaceChildren(...(palette ? drawPalette(palette) : [el("p", { class: "note" }, t("A palette changes colours of a theme. Make one from what is shown, or bring one from a file; those of ComfyUI are read, too."))]));
  };
  /** @param {Palette} palette @returns {Node[]} */
  const drawPalette = (palette) => {
    let now = palette;
    const base = coloursOf(palette.base);
    const name = el("input", { id: freshId("name"), attributes: { type: "text", maxlength: 60 }, set: { value: palette.name } });
    name.addEventListener("change", () => add({ ...now, name: name.value.trim() || palette.name }, palette));
    const bases = el("select", { id: freshId("base") }, ...[["dark", t("Dark")], ["light", t("Light")], ["contrast", t("High contrast")]].map(([value, title]) => el("option", { attributes: { value }, set: { selected: value === palette.base } }, title)));
    bases.addEventListener("change", () => add({ ...now, base: /** @type {Base} */ (bases.value) }, palette));
    const weak = el("div", { attributes: { role: "status" } });
    const code = el("textarea", { attributes: { rows: 8, spellcheck: "false", "aria-label": t("The palette as JSON") }, class: "code" });
    const measure = () => {
      const pairs = weakPairs({ ...base, ...now.colors });
      weak.replaceChildren(
        ...(pairs.length
          ? [el("p", { class: "problem-text" }, t("Hard to read: {n} pairs of colours are too much alike.", { n: pairs.length })), el("ul", {}, ...pairs.slice(0, WEAK_SHOWN).map(({ front, back, ratio, least }) => el("li", {}, t("{front} on {back}: {ratio} to 1, at least {least} is needed", { front: t(ROLES[front]), back: t(ROLES[back]), ratio: ratio.toFixed(1), least }))))]
          : [el("p", { class: "soft" }, t("All texts and outlines have the contrast they need."))]),
      );
      code.value = JSON.stringify(now, null, 2);
    };
    const fields = Object.entries(ROLES).map(([role, title]) => {
      const id = freshId("colour");
      const field = el("input", { id, attributes: { type: "color" }, set: { value: plain(now.colors[role] ?? base[role]) || "#000000" } });
      field.addEventListener("change", () => {
        now = { ...now, colors: { ...now.colors, [role]: field.value } };
        keep(now, now);
        back.hidden = false;
        measure();
      });
      const back = el("button", { class: "small quiet", attributes: { type: "button", hidden: !(role in now.colors), "aria-label": `${t("Reset")}: ${t(title)}` }, on: { click: () => {
        const { [role]: _gone, ...colors } = now.colors;
        now = { ...now, colors };
        keep(now, now);
        back.hidden = true;
        field.value = plain(base[role]);
        measure();
      } } }, t("Reset")); // prettier-ignore
      return el("div", { class: "row" }, field, el("label", { class: "grow", attributes: { for: id } }, t(title)), back);
    });
    measure();
    return [
      el("div", { class: "setting" }, el("label", { attributes: { for: name.id } }, t("Name")), el("div", { class: "control" }, name)),
      el("div", { class: "setting" }, el("label", { attributes: { for: bases.id } }, t("Over the theme")), el("div", { class: "control" }, bases)),
      el("div", { class: "swatches" }, ...fields),
      weak,
      el("details", {}, el("summary", {}, t("The palette as JSON")), code, el("div", { class: "row" }, button(t("Use this text"), () => read(code.value, palette), "small"))),
      el("div", { class: "row" }, button(t("Download"), () => downloadJson(now, `${now.name}.palette.json`)), button(t("Delete"), () => {
        settings.set("theme", "system");
        settings.set("palettes", all().filter((each) => each.name !== palette.name));
        draw();
      }, "danger")),
    ]; // prettier-ignore
  };
  draw();
  openDialog(t("Colour palettes"), { class: "wide" }, el("div", { class: "row colours-head" }, list, make, el("label", { class: "button" }, t("Bring a palette from a file"), file)), place);
}

/** @param {string} name @param {readonly Palette[]} others */
function freeName(name, others) {
  for (let n = 1; ; n++) {
    const free = n === 1 ? name : `${name} ${n}`;
    if (!others.some((each) => each.name === free)) return free;
  }
}
