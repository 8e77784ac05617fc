// For scripts of node packs; see app.js.
export const { getPngMetadata, getWebpMetadata, getFlacMetadata, getAvifMetadata, getLatentMetadata, importA1111 } = globalThis.comfyAPI.pnginfo;
