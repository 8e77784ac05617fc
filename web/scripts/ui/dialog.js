// For scripts of node packs; see ../app.js.
export const { ComfyDialog } = globalThis.comfyAPI.dialog;
