// Text of several lines. Ctrl and the arrows weigh what is marked, (like this:1.1); embeddings are offered after "embedding:".

import { make } from "../canvas/dom.js";
import { weighed } from "./weights.js";
import { register } from "./registry.js";

/** @typedef {import("./registry.js").WidgetContext} WidgetContext */

/** @param {HTMLElement} host @param {WidgetContext} context */
function create(host, context) {
  host.dataset.tall = "";
  const field = make("textarea", "", null, { "aria-label": context.label, placeholder: String(context.input.options.placeholder ?? context.label), spellcheck: "false" });
  host.append(field);
  field.addEventListener("input", () => context.set(field.value, { merge: true }));
  field.addEventListener("blur", () => context.seal());
  field.addEventListener("wheel", (event) => {
    // scroll the text while it can scroll and has the focus; else the graph zooms
    if (document.activeElement === field && field.scrollHeight > field.clientHeight && !event.ctrlKey) event.stopPropagation();
  });
  field.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      const changed = weighed(field.value, field.selectionStart, field.selectionEnd, event.key === "ArrowUp" ? 0.05 : -0.05);
      if (changed) {
        field.value = changed.text;
        field.setSelectionRange(changed.start, changed.end);
        context.set(changed.text, { merge: true });
      }
      event.preventDefault();
      event.stopPropagation();
    }
  });
  let completion = /** @type {{close(): void} | null} */ (null);
  field.addEventListener("focus", async () => {
    if (completion || context.input.options.multiline !== true) return;
    const { attach } = await import("./completion.js");
    completion ??= attach(field, context);
  });
  return {
    update() {
      const value = String(context.value ?? "");
      field.disabled = context.fed;
      if (field.value !== value) field.value = value;
    },
    destroy() {
      completion?.close();
    },
  };
}

register("prompt", { create, height: 76, grows: true }, (input) => input.type === "STRING" && input.options.multiline === true);
register("TEXTAREA", { create, height: 76, grows: true });
