// For scripts of node packs; see app.js.
export const { ComfyWidgets, IS_CONTROL_WIDGET, addValueControlWidget, addValueControlWidgets, updateControlWidgetLabel, initWidgets, isValidWidgetType } = globalThis.comfyAPI.widgets;
