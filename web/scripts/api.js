// For scripts of node packs; see app.js.
export const { api, ComfyApi } = globalThis.comfyAPI.api;
