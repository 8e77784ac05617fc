// For scripts of node packs: the page has made these objects before any script is asked for.
export const { app, ComfyApp, ANIM_PREVIEW_WIDGET } = globalThis.comfyAPI.app;
