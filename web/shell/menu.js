// A menu that opens at a button or a point and is worked by arrows, letters and Escape.

import { icon } from "./icons.js";
import { el } from "./dom.js";

/** @typedef {{label: string, run?: () => unknown, keys?: string, icon?: string, disabled?: boolean, checked?: boolean, heading?: boolean} | null} Entry  null: a line */

/**
 * @param {readonly Entry[]} entries
 * @param {Element | {x: number, y: number}} at
 * @returns {() => void} closes it
 */
export function openMenu(entries, at) {
  const before = document.activeElement;
  const menu = el("div", { class: "menu", attributes: { role: "menu", "data-own-keys": true } });
  const close = () => {
    menu.remove();
    document.removeEventListener("pointerdown", outside, true);
    if (at instanceof Element) at.setAttribute("aria-expanded", "false");
    if (before instanceof HTMLElement) before.focus();
  };
  /** @param {PointerEvent} event */
  const outside = (event) => {
    if (!menu.contains(/** @type {Node} */ (event.target))) close();
  };
  for (const entry of entries) {
    if (!entry) menu.append(el("hr", { attributes: { role: "separator" } }));
    else if (entry.heading) menu.append(el("div", { class: "heading", attributes: { role: "presentation" } }, entry.label));
    else {
      const checkable = entry.checked !== undefined;
      menu.append(
        el(
          "button",
          {
            attributes: { type: "button", role: checkable ? "menuitemcheckbox" : "menuitem", "aria-checked": checkable ? String(entry.checked) : null, tabindex: -1, disabled: entry.disabled },
            on: {
              click: () => {
                close();
                entry.run?.();
              },
            },
          },
          checkable && el("span", { class: "tick", attributes: { "aria-hidden": "true" } }, entry.checked ? "✓" : ""),
          entry.icon && icon(entry.icon, 16),
          entry.label,
          entry.keys && el("kbd", {}, entry.keys),
        ),
      );
    }
  }
  menu.addEventListener("keydown", (event) => {
    const items = /** @type {HTMLButtonElement[]} */ ([...menu.querySelectorAll("button:not(:disabled)")]);
    const now = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {HTMLButtonElement | undefined} */
    let next;
    if (event.key === "ArrowDown") next = items[(now + 1) % items.length];
    else if (event.key === "ArrowUp") next = items[(now - 1 + items.length) % items.length];
    else if (event.key === "Home") next = items[0];
    else if (event.key === "End") next = items.at(-1);
    else if (event.key === "Escape" || event.key === "Tab") {
      close();
    } else if (event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey) {
      next = [...items.slice(now + 1), ...items.slice(0, now + 1)].find((item) => item.textContent?.trim().toLowerCase().startsWith(event.key.toLowerCase()));
    } else return;
    event.preventDefault();
    event.stopPropagation();
    next?.focus();
  });
  const origin = at instanceof Element ? at : before;
  (origin?.closest("dialog") ?? document.querySelector("main") ?? document.body).append(menu); // above a dialog, within a landmark
  const box = at instanceof Element ? at.getBoundingClientRect() : { left: at.x, bottom: at.y, top: at.y };
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(6, Math.min(box.left, innerWidth - width - 6))}px`;
  menu.style.top = `${box.bottom + 4 + height > innerHeight ? Math.max(6, Math.min(box.top - height - 4, innerHeight - height - 6)) : box.bottom + 4}px`;
  if (at instanceof Element) at.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  /** @type {HTMLButtonElement | null} */ (menu.querySelector("button:not(:disabled)"))?.focus();
  return close;
}
