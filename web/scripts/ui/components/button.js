// For scripts of node packs; see ../../app.js.
export const { ComfyButton } = globalThis.comfyAPI.button;
