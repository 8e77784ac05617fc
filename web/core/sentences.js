// What the server says, as sentences for a person.
import { title } from "./graph.js";

/** Problems of a refused prompt, most specific first. @returns {string[]} */
export function ofRefusal(refused, graph, info) {
  const lines = ofNodeErrors(refused.nodeErrors, graph, info);
  if (lines.length) return lines;
  const { message = refused.message, details = "" } = refused.error ?? {};
  return [details && details !== message ? `${stop(message)} ${details}` : stop(message)];
}

export function ofNodeErrors(nodeErrors, graph, info) {
  return Object.entries(nodeErrors ?? {}).flatMap(([id, { errors }]) =>
    errors.map(({ message, details, extra_info: { hint = "" } = {} }) =>
      [`${title(graph, id, info)} (node ${id}): ${stop(message)}`, details && hint ? stop(details) : details, hint].filter(Boolean).join(" ")));
}

export function ofFailure(data, graph, info) {
  const message = (data.exception_message ?? "").trim() || data.exception_type || "It failed without saying why";
  return `${title(graph, data.node_id, info)} (node ${data.node_id}): ${stop(message)}`;
}

function stop(text) {
  return /[.!?…:]$/.test(text) ? text : `${text}.`;
}
