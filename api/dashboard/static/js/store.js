/**
 * State of the live streams: a pure reducer over server events, and the store that runs it.
 *
 * @typedef {import("./types.js").ServerEvent} ServerEvent
 * @typedef {import("./types.js").Verdict} Verdict
 *
 * @typedef {Object} Point         one window on the chart
 * @property {number} x            media time in s
 * @property {number|null} p       prob_fake; null where nothing could be said
 * @property {string} label
 * @property {number|null} [alarm] share of the alarm limit, where the whole call decides
 * @property {boolean} [open]      whether an alarm is open
 *
 * @typedef {Object} StreamView
 * @property {string} id
 * @property {number} epoch
 * @property {string} source
 * @property {boolean} sample
 * @property {string} callId
 * @property {string} participantId
 * @property {number} startedS     Unix time
 * @property {Verdict|null} verdict
 * @property {number} verdictAtMs  local clock
 * @property {readonly Point[]} history
 * @property {number} rank         its place on the wall (order.js)
 * @property {number|null} lowerSinceMs  local time since when its rank would be lower
 * @property {boolean} stalled     its source is silent
 * @property {{reason: string, message: string, atMs: number}|null} ended
 * @property {readonly OpenAlarm[]} unreviewed  alarms of this session without a review, oldest first
 *
 * @typedef {{stream: string, epoch: number, pts_s: number}} OpenAlarm
 *
 * @typedef {Object} Connection
 * @property {"connecting"|"live"|"reconnecting"|"refused"} state
 * @property {number} retryAtMs    local clock; 0 unless reconnecting
 *
 * @typedef {Object} State
 * @property {ReadonlyMap<string, StreamView>} streams
 * @property {Connection} connection
 * @property {boolean} settled     the first snapshot is in
 * @property {ReadonlyMap<string, readonly OpenAlarm[]>} unreviewed  by `sessionOf`
 *
 * @typedef {{type: "event", event: ServerEvent, nowMs: number}
 *   | {type: "snapshot", events: ServerEvent[], nowMs: number}
 *   | {type: "connection", connection: Connection}
 *   | {type: "alarms", incidents: readonly OpenAlarm[]}
 *   | {type: "expire", nowMs: number}} Action
 */

import { alarmLevel, eased, rankOf } from "./call_order.js";

/** @type {readonly OpenAlarm[]} */
const NO_ALARMS = Object.freeze([]);
export const HISTORY_S = 60;
export const ENDED_STAYS_MS = 30_000;
const HISTORY_SPARE_S = 5;

/** @type {State} */
export const INITIAL = Object.freeze({
  streams: new Map(),
  connection: Object.freeze({ state: "connecting", retryAtMs: 0 }),
  settled: false,
  unreviewed: new Map(),
});

/** @param {State} state @param {Action} action @returns {State} */
export function reduce(state, action) {
  switch (action.type) {
    case "event":
      return withStream(state, applyEvent(state.streams, action.event, action.nowMs));
    case "snapshot":
      return marked({ ...state, settled: true, streams: applySnapshot(state.streams, action.events, action.nowMs) });
    case "alarms":
      return marked({ ...state, unreviewed: bySession(action.incidents) });
    case "connection":
      return { ...state, connection: action.connection };
    case "expire":
      return { ...state, streams: expire(state.streams, action.nowMs) };
  }
}

/** @param {State} state @param {StreamView|null} view @returns {State} */
function withStream(state, view) {
  if (!view || state.streams.get(view.id) === view) return state;
  return { ...state, streams: new Map(state.streams).set(view.id, withAlarms(view, state.unreviewed)) };
}

/** @param {OpenAlarm|StreamView} one @returns {string} key of a session: a name may be used again by a later call */
function sessionOf(one) {
  return `${one.epoch} ${"stream" in one ? one.stream : one.id}`;
}

/** @param {readonly OpenAlarm[]} incidents @returns {Map<string, OpenAlarm[]>} */
function bySession(incidents) {
  /** @type {Map<string, OpenAlarm[]>} */
  const found = new Map();
  for (const incident of [...incidents].sort((a, b) => a.pts_s - b.pts_s)) {
    found.set(sessionOf(incident), [...(found.get(sessionOf(incident)) ?? []), incident]);
  }
  return found;
}

/** @param {StreamView} view @param {State["unreviewed"]} unreviewed @returns {StreamView} */
function withAlarms(view, unreviewed) {
  const alarms = unreviewed.get(sessionOf(view)) ?? NO_ALARMS;
  const same = alarms.length === view.unreviewed.length && alarms.every((alarm, n) => alarm.pts_s === view.unreviewed[n].pts_s);
  return same ? view : { ...view, unreviewed: alarms };
}

/** @param {State} state @returns {State} with the alarms of every stream */
function marked(state) {
  return { ...state, streams: new Map([...state.streams].map(([id, view]) => [id, withAlarms(view, state.unreviewed)])) };
}

/**
 * Returns the stream's new view, or null if the event changes nothing (a repeat, or an older epoch).
 * @param {ReadonlyMap<string, StreamView>} streams
 * @param {ServerEvent} event
 * @param {number} nowMs
 * @returns {StreamView|null}
 */
function applyEvent(streams, event, nowMs) {
  const known = streams.get(event.stream);
  if (known && known.epoch > event.epoch) return null;
  const same = known && known.epoch === event.epoch ? known : undefined;
  switch (event.type) {
    case "stream.started":
      return { ...(same ?? blank(event)), ...startedFields(event) };
    case "verdict":
      return withVerdict(same ?? blank(event), event, nowMs);
    case "stream.gap":
      return withGap(same ?? blank(event), event.from_s);
    case "stream.stalled":
      return same && !same.ended ? { ...same, stalled: true } : null;
    case "stream.ended":
      if (!same || same.ended) return null;
      return { ...same, ended: { reason: event.reason, message: event.message, atMs: nowMs } };
    default:
      return null;
  }
}

/** @param {ServerEvent} event @returns {StreamView} */
function blank(event) {
  return {
    id: event.stream, epoch: event.epoch, source: "", sample: false, callId: "", participantId: "", startedS: Infinity,
    verdict: null, verdictAtMs: 0, history: [], rank: rankOf(null), lowerSinceMs: null, stalled: false, ended: null,
    unreviewed: NO_ALARMS,
  };
}

/** @param {import("./types.js").StreamStarted} event @returns {Partial<StreamView>} */
function startedFields(event) {
  return {
    source: event.source, sample: event.sample === true, startedS: event.started_s,
    callId: event.call_id ?? "", participantId: event.participant_id ?? "",
  };
}

/** @param {StreamView} view @param {Verdict} verdict @param {number} nowMs @returns {StreamView|null} */
function withVerdict(view, verdict, nowMs) {
  if (view.ended || (view.verdict && view.verdict.sequence >= verdict.sequence)) return null;
  const point = { x: verdict.end_s, p: verdict.prob_fake, label: verdict.label, alarm: alarmLevel(verdict), open: verdict.alarm === true };
  const oldest = verdict.end_s - HISTORY_S - HISTORY_SPARE_S;
  const history = [...view.history.filter((old) => old.x >= oldest && old.x <= point.x), point];
  return { ...view, ...eased(view, rankOf(verdict), nowMs), verdict, verdictAtMs: nowMs, history, stalled: false };
}

/** A point without a value breaks the line. @param {StreamView} view @param {number} fromS @returns {StreamView} */
function withGap(view, fromS) {
  const last = view.history.at(-1);
  const x = Math.max(fromS, last ? last.x : 0);
  return { ...view, history: [...view.history, { x, p: null, label: "NO_FACE" }] };
}

/**
 * Applies a snapshot: streams that it lacks have ended while the page was disconnected.
 * @param {ReadonlyMap<string, StreamView>} before
 * @param {ServerEvent[]} events
 * @param {number} nowMs
 * @returns {ReadonlyMap<string, StreamView>}
 */
function applySnapshot(before, events, nowMs) {
  const streams = new Map(before);
  const alive = new Set(events.map((event) => event.stream));
  for (const view of before.values()) {
    if (!alive.has(view.id) && !view.ended) {
      streams.set(view.id, { ...view, ended: { reason: "lost", message: "", atMs: nowMs } });
    } else if (alive.has(view.id) && view.ended) {
      streams.delete(view.id);
    }
  }
  for (const event of events) {
    const view = applyEvent(streams, event, nowMs);
    if (view) streams.set(view.id, view);
  }
  return streams;
}

/** @param {ReadonlyMap<string, StreamView>} streams @param {number} nowMs @returns {ReadonlyMap<string, StreamView>} */
function expire(streams, nowMs) {
  const kept = [...streams].filter(([, view]) => !view.ended || view.unreviewed.length || nowMs - view.ended.atMs < ENDED_STAYS_MS);
  return kept.length === streams.size ? streams : new Map(kept);
}

/** Holds the state; listeners get the new and the previous state after each change. */
export class Store {
  /** @type {State} */
  state = INITIAL;
  /** @type {((state: State, before: State) => void)[]} */
  #listeners = [];

  /** @param {(state: State, before: State) => void} listener */
  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /** @param {Action} action */
  dispatch(action) {
    const before = this.state;
    this.state = reduce(before, action);
    if (this.state === before) return;
    for (const listener of this.#listeners) listener(this.state, before);
  }
}
