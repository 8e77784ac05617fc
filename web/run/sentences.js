// What the server says about a graph, as problems a person can go to and put right.

/**
 * @typedef {object} Problem
 * @property {string} title  what a person calls the node, or the graph
 * @property {string} message
 * @property {string} hint  what to do next; may be empty
 * @property {string | null} node  id in the run ("5", "12:5"); null when it is about the whole graph
 * @property {string} [input]
 * @property {readonly string[]} [traceback]
 */
/** @typedef {import("../format/prompt.js").Prompt} Prompt */
/** @typedef {import("./api.js").ErrorBody} ErrorBody */

/** @param {Prompt} prompt @param {string} id */
export function titleIn(prompt, id) {
  const node = prompt[id];
  return node ? node._meta?.title || node.class_type : `node ${id}`;
}

/**
 * @param {import("./api.js").Refused} refused
 * @param {Prompt} prompt
 * @returns {Problem[]} most specific first
 */
export function ofRefusal(refused, prompt) {
  const nodes = ofNodeErrors(refused.nodeErrors, prompt);
  if (nodes.length) return nodes;
  const { details = "", hint = "", extra_info } = refused.error;
  const more = hint || String(extra_info?.hint ?? "");
  return [{ title: "", message: sentence(refused.message), hint: details && details !== refused.message ? joined(details, more) : more, node: null }];
}

/**
 * @param {Record<string, {errors: ErrorBody[]}> | undefined} errors
 * @param {Prompt} prompt
 * @returns {Problem[]}
 */
export function ofNodeErrors(errors, prompt) {
  return Object.entries(errors ?? {}).flatMap(([id, { errors: list }]) =>
    list.map(({ message = "", details = "", extra_info = {} }) => ({
      title: titleIn(prompt, id),
      message: details ? joined(message, details) : sentence(message),
      hint: String(extra_info.hint ?? ""),
      node: id,
      input: typeof extra_info.input_name === "string" ? extra_info.input_name : undefined,
    })),
  );
}

/**
 * A node failed while it ran. @param {any} data  of `execution_error` @param {Prompt} prompt @returns {Problem}
 */
export function ofFailure(data, prompt) {
  const [first, ...rest] = String(data.exception_message ?? "").trim().split("\n");
  const id = data.node_id ? String(data.node_id) : null;
  return {
    title: id ? titleIn(prompt, id) : "",
    message: sentence(first || data.exception_type || "It failed without saying why"),
    hint: rest.join(" ").trim(),
    node: id,
    traceback: data.exception_type === "WorkerDied" ? [] : (data.traceback ?? []),
  };
}

/** @param {string} text */
function sentence(text) {
  return !text || /[.!?…:]$/.test(text) ? text : `${text}.`;
}

/** @param {string} a @param {string} b */
function joined(a, b) {
  return `${sentence(a)} ${b}`.trim();
}
