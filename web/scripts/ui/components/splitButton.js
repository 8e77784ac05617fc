// For scripts of node packs; see ../../app.js. A button with a menu is two buttons in a row here.
export const ComfySplitButton = globalThis.comfyAPI.buttonGroup.ComfyButtonGroup;
