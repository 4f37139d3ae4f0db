/** The wall: keeps the cards in step with the store, in order, and tells changes of label to screen readers. */

import { Card } from "./cards.js";
import { bringTo, byId, setText } from "./dom.js";
import { endText, labelOf, plural, reasonText } from "./format.js";
import { FrameLoader } from "./frames.js";
import { ordered, tally } from "./store.js";

/** @typedef {import("./store.js").State} State */

const TALLY = /** @type {const} */ ([["FAKE", "likely fake"], ["UNCERTAIN", "uncertain"], ["REAL", "likely real"], ["NO_FACE", "without a face"]]);

export class Wall {
  /** @type {Map<string, Card>} */
  #cards = new Map();
  /** @type {Set<string>} */
  #mine = new Set();
  /** @type {{low: number, high: number}|null} */
  #band = null;
  /** @type {State|null} */
  #drawn = null;
  /** @type {State|null} */
  #next = null;

  constructor() {
    this.list = byId("cards");
    this.loader = new FrameLoader();
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "80px" });
    document.addEventListener("visibilitychange", () => this.#cards.forEach((card) => card.setVisible(isOnScreen(card.article))));
  }

  /** Draws at the next animation frame, however many events come before it. @param {State} state */
  show(state) {
    const scheduled = this.#next !== null;
    this.#next = state;
    if (!scheduled) requestAnimationFrame(() => this.#draw());
  }

  /** @param {string} stream that this page publishes */
  addMine(stream) {
    this.#mine.add(stream);
  }

  /** @param {{low: number, high: number}|null} band */
  setBand(band) {
    this.#band = band;
    this.#cards.forEach((card) => card.setBand(band));
  }

  /** @param {string} stream @returns {boolean} whether there is such a card */
  focus(stream) {
    const card = this.#cards.get(stream);
    if (card) bringTo(card.article);
    return Boolean(card);
  }

  /** @param {number} nowMs */
  tick(nowMs) {
    this.#cards.forEach((card) => card.tick(nowMs));
  }

  #draw() {
    const state = /** @type {State} */ (this.#next);
    const before = this.#drawn;
    this.#next = null;
    this.#drawn = state;
    if (!before || before.streams !== state.streams) this.#drawCards(state, before);
    const locked = state.connection.state === "refused";
    byId("locked").hidden = !locked;
    byId("skeletons").hidden = locked || state.settled;
    byId("empty").hidden = locked || !state.settled || state.streams.size > 0;
    this.list.toggleAttribute("data-stale", state.settled && state.connection.state !== "live");
    this.#drawLegend(state);
    this.#drawTally(state);
  }

  /** Only what some chart shows. @param {State} state */
  #drawLegend(state) {
    const verdicts = [...state.streams.values()].flatMap((view) => view.verdict ?? []);
    byId("legend-alarm").hidden = !verdicts.some((verdict) => verdict.decision);
    byId("legend-band").hidden = !this.#band || !verdicts.some((verdict) => !verdict.decision);
  }

  /** @param {State} state @param {State|null} before */
  #drawCards(state, before) {
    const nowMs = Date.now();
    for (const [id, card] of this.#cards) {
      if (state.streams.has(id)) continue;
      card.dispose();
      this.#cards.delete(id);
    }
    ordered(state.streams).forEach((view, index) => {
      const old = before?.streams.get(view.id);
      const card = this.#cards.get(view.id) ?? this.#add(view);
      const there = this.list.children[index] ?? null;
      if (there !== card.root) this.list.insertBefore(card.root, there);
      if (old === view) return;
      card.update(view, nowMs);
      if (old) this.#announce(old, view);
    });
  }

  /** @param {import("./store.js").StreamView} view @returns {Card} */
  #add(view) {
    const card = new Card(view, { loader: this.loader, observer: this.observer, mine: this.#mine.has(view.id) });
    card.setBand(this.#band);
    this.#cards.set(view.id, card);
    return card;
  }

  /** @param {import("./store.js").StreamView} old @param {import("./store.js").StreamView} view */
  #announce(old, view) {
    if (view.ended && !old.ended) {
      setText(byId("announcer"), `${view.id} ended. ${endText(view.ended)}.`);
    } else if (view.verdict && view.verdict.label !== old.verdict?.label) {
      setText(byId("announcer"), `${view.id}: ${labelOf(view.verdict.label).words}. ${reasonText(view.verdict.reason)}.`);
    }
  }

  /** @param {State} state */
  #drawTally(state) {
    const counts = tally(state.streams);
    const words = TALLY.filter(([label]) => counts[label]).map(([label, text]) => `${counts[label]} ${text}`);
    setText(byId("tally"), state.settled ? [plural(counts.live, "live call"), ...words].join(" · ") : "");
    document.title = counts.FAKE ? `(${counts.FAKE}) Likely fake – DeepGuard` : "DeepGuard";
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    for (const entry of entries) {
      const stream = /** @type {HTMLElement} */ (entry.target).dataset.stream ?? "";
      this.#cards.get(stream)?.setVisible(entry.isIntersecting);
    }
  }
}

/** @param {HTMLElement} element @returns {boolean} */
function isOnScreen(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > -80 && top < innerHeight + 80;
}
