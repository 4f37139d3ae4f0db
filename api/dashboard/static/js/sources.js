/** The panel "Add a source" and the list of sources with their states. */

import { byId, clone, setText } from "./dom.js";
import { errorWords, request, requestJson } from "./http.js";
import { callHref } from "./router.js";
import { SourceForm } from "./source_form.js";
import { entryOf, standingOf } from "./source_request.js";

/**
 * @typedef {import("./source_request.js").OwnSource} OwnSource
 * @typedef {import("./source_request.js").FetchedSource} FetchedSource
 */

const OWN_NAME = "deepguard.sources";
const POLL_MS = 3_000;

export class SourcePanel {
  /** @type {Map<string, OwnSource>} */
  #own = new Map(stored().map((source) => [source.stream, source]));
  /** @type {Map<string, FetchedSource>} */
  #fetched = new Map();
  /** @type {ReadonlyMap<string, import("./store.js").StreamView>} */
  #streams = new Map();
  /** @type {Map<string, {root: HTMLElement, parts: Record<string, any>}>} */
  #items = new Map();

  /** @param {{onRefused: () => void}} handlers */
  constructor(handlers) {
    this.list = byId("source-list");
    this.form = new SourceForm({ ...handlers, onAdded: (source) => this.#add(source) });
    setInterval(() => document.hidden || !this.list.children.length || this.refresh(), POLL_MS);
  }

  /** @param {ReadonlyMap<string, import("./store.js").StreamView>} streams */
  show(streams) {
    this.#streams = streams;
    this.#draw();
  }

  /** Loads the sources of the service, without WHIP publishers, which end their own sessions. */
  async refresh() {
    try {
      const { sources = [] } = await requestJson("v1/streams", { cache: "no-store" });
      const added = sources.filter((/** @type {FetchedSource} */ { source }) => source !== "whip");
      this.#fetched = new Map(added.map((/** @type {FetchedSource} */ source) => [source.stream, source]));
      this.#draw();
    } catch {
      // the connection notice reports an unreachable service
    }
  }

  /** @param {OwnSource} source */
  #add(source) {
    this.#own.set(source.stream, source);
    this.#keep();
    this.#draw();
    setText(byId("source-status"), `${source.stream} was added. ${source.hint}`);
    this.#items.get(source.stream)?.parts.stop.focus();
    this.refresh();
  }

  #draw() {
    const entries = new Map(this.#own);
    for (const [stream, fetched] of this.#fetched) entries.set(stream, this.#own.get(stream) ?? entryOf(fetched));
    for (const [stream, item] of this.#items) {
      if (entries.has(stream)) continue;
      item.root.remove();
      this.#items.delete(stream);
    }
    for (const entry of entries.values()) this.#drawItem(entry);
  }

  /** @param {OwnSource} entry */
  #drawItem(entry) {
    const { root, parts } = this.#items.get(entry.stream) ?? this.#addItem(entry);
    const { state, words } = standingOf(this.#fetched.get(entry.stream), this.#streams.get(entry.stream));
    root.dataset.state = state;
    setText(parts.state, words);
    setText(parts.stop, state === "ended" || state === "failed" ? "Remove" : "Stop");
    parts.stop.setAttribute("aria-label", `${parts.stop.textContent} ${entry.stream}`);
  }

  /** @param {OwnSource} entry @returns {{root: HTMLElement, parts: Record<string, any>}} */
  #addItem(entry) {
    const item = clone("source-template");
    setText(item.parts.name, entry.stream);
    item.parts.name.href = callHref(entry.stream);
    setText(item.parts.kind, entry.kind);
    setText(item.parts.hint, entry.hint);
    item.parts.stop.addEventListener("click", () => this.#stop(entry.stream));
    this.#items.set(entry.stream, item);
    this.list.prepend(item.root);
    return item;
  }

  /** @param {string} stream */
  async #stop(stream) {
    try {
      await request(`v1/streams/${encodeURIComponent(stream)}`, { method: "DELETE" });
    } catch (error) {
      const isOver = /** @type {{status?: number}} */ (error).status === 404;
      if (!isOver) return setText(byId("source-status"), `${stream} goes on. ${errorWords(error)}`);
    }
    this.#own.delete(stream);
    this.#fetched.delete(stream);
    this.#keep();
    this.#draw();
    setText(byId("source-status"), `${stream} was stopped.`);
    byId("source-add").focus({ preventScroll: true });
  }

  /** Stores names only, in this tab only: URLs may hold a login. */
  #keep() {
    sessionStorage.setItem(OWN_NAME, JSON.stringify([...this.#own.values()]));
  }
}

/** @returns {OwnSource[]} */
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(OWN_NAME) ?? "[]");
  } catch {
    return [];
  }
}
