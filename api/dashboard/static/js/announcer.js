/** Screen-reader announcements of label changes: at most one sentence every few seconds. */

import { byId } from "./dom.js";
import { endText, labelOf, plural, reasonText } from "./format.js";

/** @typedef {import("./store.js").StreamView} StreamView */

const FIRST_MS = 400;       // changes that come together are told together
const PAUSE_MS = 4_000;
const NAMED = 3;

/**
 * Returns the announcement of changed calls. Likely fakes are named first; many others are only counted.
 * @param {readonly StreamView[]} views  the latest change of each
 * @returns {string}
 */
export function spoken(views) {
  const sorted = [...views].sort((a, b) => b.rank - a.rank);
  if (sorted.length === 1) return `${sorted[0].id}: ${stateWords(sorted[0])}. ${whyWords(sorted[0])}.`;
  const named = sorted.slice(0, NAMED).map((view) => `${view.id}: ${stateWords(view)}.`);
  const rest = sorted.length - named.length;
  return [...named, ...(rest ? [`${plural(rest, "more call")} changed.`] : [])].join(" ");
}

/** @param {StreamView} view @returns {string} */
function stateWords(view) {
  if (view.ended) return "Ended";
  return view.verdict ? labelOf(view.verdict.label).words : "Waiting";
}

/** @param {StreamView} view @returns {string} */
function whyWords(view) {
  return view.ended ? endText(view.ended) : reasonText(view.verdict?.reason ?? "");
}

export class Announcer {
  /** @type {Map<string, StreamView>} */
  #changed = new Map();
  #timer = 0;
  #lastMs = -Infinity;

  /** @param {StreamView} before @param {StreamView} now */
  note(before, now) {
    const ended = Boolean(now.ended) && !before.ended;
    const relabelled = now.verdict !== null && now.verdict.label !== before.verdict?.label;
    if (!ended && !relabelled) return;
    this.#changed.set(now.id, now);
    const waitMs = Math.max(FIRST_MS, this.#lastMs + PAUSE_MS - performance.now());
    if (!this.#timer) this.#timer = setTimeout(() => this.#tell(), waitMs);
  }

  #tell() {
    this.#timer = 0;
    this.#lastMs = performance.now();
    byId("announcer").textContent = spoken([...this.#changed.values()]);
    this.#changed.clear();
  }
}
