// One open workflow as the canvas and the panels see it. Everything a room of the page may lean on is named here.

import { Selection } from "./core/selection.js";
import { ROOT } from "./core/records.js";
import { RunState } from "./run/state.js";

/** @typedef {import("./core/document.js").Document} Document */
/** @typedef {import("./core/definitions.js").Definitions} Definitions */
/** @typedef {import("./run/api.js").Api} Api */
/** @typedef {import("./shell/actions.js").Actions} Actions */
/** @typedef {import("./shell/settings.js").Settings} Settings */
/**
 * What all open workflows share.
 * @typedef {object} Shared
 * @property {Definitions} definitions  what the server can run; replaced as a whole when it changes (see `definitionsChanged`)
 * @property {Actions} actions
 * @property {Settings} settings
 * @property {Api} api
 * @property {(info: Record<string, any>) => Definitions} definitionsOf  what /object_info says as definitions; scripts of node packs add to them
 */
/**
 * @typedef {object} Session
 * @property {Document} document
 * @property {Selection} selection
 * @property {Definitions} definitions  as they are now; a getter, so do not keep it
 * @property {RunState} runs  what the last run did with each node of this workflow
 * @property {Actions} actions
 * @property {Settings} settings
 * @property {string} graph  the graph on screen, ROOT or a subgraph; whoever shows another sets it
 * @property {readonly import("./core/records.js").Id[]} within  the instances that were entered on the way there
 * @property {Api} api
 */

/**
 * @param {Shared} shared
 * @param {Document} document
 * @returns {Session}
 */
export function createSession(shared, document) {
  return {
    document,
    selection: new Selection(document, ROOT),
    get definitions() {
      return shared.definitions;
    },
    runs: new RunState(),
    actions: shared.actions,
    settings: shared.settings,
    graph: ROOT,
    within: [],
    api: shared.api,
  };
}
