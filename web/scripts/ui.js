// For scripts of node packs; see app.js.
export const { $el, ComfyDialog, ComfyUI, toggleSwitch } = globalThis.comfyAPI.ui;
