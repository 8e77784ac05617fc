// Workflows on the server: files of the user below workflows/, with the version of each so that nobody overwrites another's work.

import { Refused } from "../run/api.js";

/** @typedef {import("../run/api.js").Api} Api */
/** @typedef {{path: string, size: number, modified: number, created: number}} Info  path below workflows/, seconds since 1970 */

export const FOLDER = "workflows";
const VERSIONS = "versions";
const MOST_VERSIONS = 40;

/** Somebody else saved this file since it was read here. */
export class Conflict extends Error {
  name = "Conflict";
}

export class Store {
  #api;

  /** @param {Api} api */
  constructor(api) {
    this.#api = api;
  }

  /** @returns {Promise<Info[]>} */
  async list() {
    return this.#listing(FOLDER);
  }

  /** @param {string} directory @returns {Promise<Info[]>} */
  async #listing(directory) {
    return this.#api.get("userdata", { dir: directory, recurse: true, full_info: true, or_empty: true });
  }

  /** @param {string} path below workflows/ @returns {Promise<{json: unknown, version: string | null}>} */
  async read(path) {
    const { body, headers } = await this.#api.request("GET", address(`${FOLDER}/${path}`));
    return { json: body, version: headers.get("ETag") };
  }

  /**
   * @param {string} path
   * @param {unknown} json
   * @param {string | null | undefined} version  the version it replaces; null: there must be no such file; undefined: whatever is there
   * @returns {Promise<string | null>} the new version
   * @throws {Conflict}
   */
  async write(path, json, version) {
    const text = JSON.stringify(json);
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/json" };
    if (version) headers["If-Match"] = version;
    if (version === null) headers["If-None-Match"] = "*";
    try {
      const written = await this.#api.request("POST", address(`${FOLDER}/${path}`), text, headers);
      await this.#keepVersion(path, text);
      return written.headers.get("ETag");
    } catch (error) {
      if (error instanceof Refused && (error.status === 412 || error.status === 409)) throw new Conflict(error.message, { cause: error });
      throw error;
    }
  }

  /** @param {string} path @param {string} to */
  async move(path, to) {
    await this.#api.request("POST", `${address(`${FOLDER}/${path}`)}/move/${encodeURIComponent(`${FOLDER}/${to}`)}?overwrite=false`, "");
  }

  /** @param {string} path */
  async delete(path) {
    await this.#api.delete(address(`${FOLDER}/${path}`));
  }

  /** Earlier states of a file, newest first. @param {string} path @returns {Promise<{id: string, at: number, size: number}[]>} */
  async versions(path) {
    const found = await this.#listing(`${VERSIONS}/${path}`);
    return found.filter(({ path: each }) => /^\d+\.json$/.test(each)).map(({ path: id, size }) => ({ id, at: Number(id.slice(0, -5)), size })).sort((a, b) => b.at - a.at);
  }

  /** @param {string} path @param {string} id @returns {Promise<unknown>} */
  async readVersion(path, id) {
    return (await this.#api.request("GET", address(`${VERSIONS}/${path}/${id}`))).body;
  }

  /** A version that cannot be kept is no reason to call the saving failed. @param {string} path @param {string} text */
  async #keepVersion(path, text) {
    try {
      await this.#api.request("POST", address(`${VERSIONS}/${path}/${Date.now()}.json`), text, { "Content-Type": "application/json" });
      for (const { id } of (await this.versions(path)).slice(MOST_VERSIONS)) await this.#api.delete(address(`${VERSIONS}/${path}/${id}`));
    } catch {
      return;
    }
  }
}

/** @param {string} path */
function address(path) {
  return `userdata/${encodeURIComponent(path)}`;
}

/** What is wrong with a name for a workflow, or null. @param {string} name */
export function nameProblem(name) {
  if (/[\\:*?"<>|\u0000-\u001f]/.test(name)) return 'A name cannot have \\ : * ? " < > or |.';
  if (name.split("/").some((part) => !part.trim() || part === "." || part === "..")) return "A folder or file in this name is empty.";
  return name.length > 150 ? "This name is too long." : null;
}
