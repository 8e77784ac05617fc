// For scripts of node packs; see ../../app.js.
export const { ComfyButtonGroup } = globalThis.comfyAPI.buttonGroup;
