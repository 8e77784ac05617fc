// For scripts of node packs; see app.js.
export const { addStylesheet, downloadBlob, clone, applyTextReplacements, prop, getStorageValue, setStorageValue } = globalThis.comfyAPI.utils;
