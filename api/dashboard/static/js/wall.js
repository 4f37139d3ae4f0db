/** The wall: updates and orders the cards from the store, within a time budget per animation frame. */

import { Announcer } from "./announcer.js";
import { Card } from "./cards.js";
import { bringTo, byId, setText } from "./dom.js";
import { plural } from "./format.js";
import { FilterBar } from "./wall_filter.js";
import { FrameLoader } from "./frame_loader.js";
import { Glider, arrange } from "./animation.js";
import { grouped, matches, tally } from "./call_order.js";

/**
 * @typedef {import("./store.js").State} State
 * @typedef {import("./store.js").StreamView} StreamView
 * @typedef {import("./call_order.js").Group} Group
 */

const ARRANGE_EVERY_MS = 500;       // what has just moved rests before it moves again
const BUDGET_MS = 6;        // per frame, so that scrolling and typing stay smooth however much comes in

export class Wall {
  /** @type {Map<string, Card>} */
  #cards = new Map();
  /** @type {Set<string>} */
  #mine = new Set();
  /** @type {{low: number, high: number}|null} */
  #band = null;
  /** @type {State|null} */
  #state = null;
  /** @type {ReadonlyMap<string, StreamView>} */
  #told = new Map();
  #plan = "";
  #arrangedMs = -Infinity;
  #scheduled = false;
  #glider = new Glider();
  #announcer = new Announcer();

  constructor() {
    this.list = byId("cards");
    this.loader = new FrameLoader();
    this.filters = new FilterBar(() => this.#schedule());
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "80px" });
    document.addEventListener("visibilitychange", () => this.#cards.forEach((card) => card.setVisible(isOnScreen(card.article))));
    byId("unmatched-clear").addEventListener("click", () => this.filters.clear());
  }

  /** Draws once at the next animation frame. @param {State} state */
  show(state) {
    this.#state = state;
    this.#schedule();
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
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled || !this.#state) return;
    this.#scheduled = true;
    requestAnimationFrame((nowMs) => this.#draw(nowMs));
  }

  /** @param {number} frameMs start of the animation frame */
  #draw(frameMs) {
    const state = /** @type {State} */ (this.#state);
    this.#scheduled = false;
    if (this.#told !== state.streams) this.#announce(state.streams);
    this.#arrange(grouped(state.streams));
    this.#drawAround(state);
    if (!this.#drawCards(state, Math.max(frameMs, performance.now()) + BUDGET_MS)) this.#schedule();
  }

  /** @param {ReadonlyMap<string, StreamView>} streams */
  #announce(streams) {
    for (const view of streams.values()) {
      const before = this.#told.get(view.id);
      if (before && before !== view) this.#announcer.note(before, view);
    }
    this.#told = streams;
  }

  /** Reorders the cards if the order changed. @param {Group[]} groups */
  #arrange(groups) {
    const shown = groups.map(({ members }) => members.filter((view) => matches(view, this.filters.filter)));
    const plan = JSON.stringify(groups.map(({ members }, n) => [members.map((view) => view.id), shown[n].map((view) => view.id)]));
    if (plan !== this.#plan) {
      if (this.#glider.isBusy() || performance.now() - this.#arrangedMs < ARRANGE_EVERY_MS) return this.#schedule();
      this.#arrangedMs = performance.now();
      this.#plan = plan;
      this.#glider.glide([...this.#cards.values()].map((card) => card.root), () => this.#place(groups, shown));
      byId("unmatched").hidden = groups.length === 0 || shown.some((views) => views.length);
    }
    groups.forEach((group, n) => shown[n].forEach((view, place) => this.#cards.get(view.id)?.setGroup(group, place, shown[n].length)));
  }

  /** @param {Group[]} groups @param {StreamView[][]} shown */
  #place(groups, shown) {
    const views = groups.flatMap((group) => group.members);
    const ids = new Set(views.map((view) => view.id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.dispose();
      this.#cards.delete(id);
    }
    const visible = new Set(shown.flat());
    this.list.dataset.density = views.length < 3 ? "few" : views.length < 9 ? "some" : "many";
    this.list.toggleAttribute("data-calls", groups.some(({ members }) => members.length > 1));
    arrange(this.list, views.map((view) => {
      const card = this.#cards.get(view.id) ?? this.#add(view);
      card.root.hidden = !visible.has(view);
      return card.root;
    }));
  }

  /** @param {StreamView} view @returns {Card} */
  #add(view) {
    const card = new Card(view, { loader: this.loader, observer: this.observer, mine: this.#mine.has(view.id) });
    card.setBand(this.#band);
    this.#cards.set(view.id, card);
    return card;
  }

  /**
   * Updates visible cards first.
   * @param {State} state
   * @param {number} untilMs
   * @returns {boolean} whether every card that is due is drawn
   */
  #drawCards(state, untilMs) {
    const nowMs = Date.now();
    const due = [...this.#cards.values()].filter((card) => card.isDue(state.streams.get(card.view.id), nowMs));
    due.sort((a, b) => Number(b.visible) - Number(a.visible) || a.drawnMs - b.drawnMs);
    for (const card of due) {
      if (performance.now() > untilMs) return false;
      card.update(/** @type {StreamView} */ (state.streams.get(card.view.id)), nowMs);
    }
    return true;
  }

  /** @param {State} state */
  #drawAround(state) {
    const locked = state.connection.state === "refused";
    byId("locked").hidden = !locked;
    byId("skeletons").hidden = locked || state.settled;
    byId("empty").hidden = locked || !state.settled || state.streams.size > 0;
    byId("filters").hidden = locked || state.streams.size === 0;
    this.list.toggleAttribute("data-stale", state.settled && state.connection.state !== "live");
    this.#drawLegend(state);
    const counts = tally(state.streams);
    this.filters.showCounts(counts, state.streams.size);
    setText(byId("tally"), state.settled ? plural(counts.live, "live call") : "");
  }

  /** Updates the legend to the elements that charts show. @param {State} state */
  #drawLegend(state) {
    let decides = false;
    let windows = false;
    for (const { verdict } of state.streams.values()) {
      decides ||= Boolean(verdict?.decision);
      windows ||= Boolean(verdict && !verdict.decision);
    }
    byId("legend-alarm").hidden = !decides;
    byId("legend-mark").hidden = !decides;
    byId("legend-band").hidden = !this.#band || !windows;
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    for (const entry of entries) {
      const stream = /** @type {HTMLElement} */ (entry.target).dataset.stream ?? "";
      this.#cards.get(stream)?.setVisible(entry.isIntersecting);
    }
    this.#schedule();
  }
}

/** @param {HTMLElement} element @returns {boolean} */
function isOnScreen(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > -80 && top < innerHeight + 80;
}
