// Fields that are made anew while somebody types into them: the focus, the cursor and what was typed go over to the new ones.

const FIELDS = "input, textarea, select, button, [contenteditable], [tabindex]";

/**
 * Leave the field of a widget that has the focus. It takes in what was typed so far.
 * @param {HTMLElement} within
 * @returns {((within: HTMLElement) => void) | null}  goes back to where one was, in what was made since; null: no field had the focus
 */
export function leaveField(within) {
  const field = /** @type {HTMLInputElement | null} */ (document.activeElement);
  const host = within.contains(field) ? /** @type {HTMLElement | null | undefined} */ (field?.closest("[data-widget]")) : null;
  if (!field || !host) return null;
  const index = fieldsOf(host).indexOf(field);
  const { value, selectionStart: start, selectionEnd: end } = field;
  field.blur();
  return (now) => {
    const again = [...now.querySelectorAll("[data-widget]")].find((each) => /** @type {HTMLElement} */ (each).dataset.widget === host.dataset.widget);
    const other = again && fieldsOf(again)[index];
    if (!other) return;
    other.focus({ preventScroll: true });
    if (typeof start !== "number" || typeof other.selectionStart !== "number") return; // no text
    if (other.value !== value) {
      other.value = value;
      other.dispatchEvent(new Event("input", { bubbles: true }));
    }
    other.setSelectionRange(start, end);
  };
}

/** @param {Element} host @returns {HTMLInputElement[]} of whatever kind; what only some have is asked for */
function fieldsOf(host) {
  return [...host.querySelectorAll(/** @type {"input"} */ (FIELDS))];
}
