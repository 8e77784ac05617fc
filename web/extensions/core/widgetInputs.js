// For scripts of node packs: every widget has a socket here, so there is nothing to convert.
export const convertToInput = () => undefined;
export const getWidgetConfig = (slot) => slot?.widget?.config ?? [slot?.type ?? "*", {}];
export const mergeIfValid = () => undefined;
export const setWidgetConfig = () => undefined;
export const isConvertibleWidget = () => false;
