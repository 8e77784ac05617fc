// For scripts of node packs; see app.js.
export const { addDomWidget, DOMWidgetImpl, isDOMWidget } = globalThis.comfyAPI.domWidget;
