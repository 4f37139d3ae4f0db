/**
 * Order of calls on the wall: most suspicious first, streams of one call together. Ranks are coarse and fall with a delay,
 * so that cards do not move on small score changes. No DOM.
 *
 * @typedef {import("./store.js").StreamView} StreamView
 * @typedef {import("./types.js").Verdict} Verdict
 *
 * @typedef {{key: string, callId: string, members: StreamView[]}} Group  members most suspicious first
 * @typedef {{label: string, text: string}} Filter  "" matches everything
 */

export const EASE_MS = 10_000;

const CLEARED = 0;
const UNKNOWN = 1;
const WATCHED = 2;
const STEPS = 4;
const ALARM = WATCHED + STEPS;
const UNREVIEWED = ALARM - 0.5;

/**
 * Returns the urgency of a stream, 0 (real) to 6 (alarm). Streams without a verdict rank above real ones.
 * @param {Verdict|null} verdict
 * @returns {number}
 */
export function rankOf(verdict) {
  if (!verdict) return UNKNOWN;
  if (verdict.alarm || verdict.label === "FAKE") return ALARM;
  if (verdict.label === "REAL") return CLEARED;
  const level = alarmLevel(verdict) ?? verdict.prob_fake;
  if (verdict.label === "NO_FACE" || verdict.prob_fake === null || level === null) return UNKNOWN;
  return WATCHED + Math.min(STEPS - 1, Math.floor(level * STEPS));
}

/**
 * Returns the alarm level of the most suspicious face, 0..1; null if windows decide, not the whole call.
 * @param {Verdict} verdict
 * @returns {number|null}
 */
export function alarmLevel(verdict) {
  if (!verdict.decision) return null;
  return Math.min(1, Math.max(0, ...verdict.faces.map((face) => face.suspicion ?? 0)));
}

/**
 * Rises at once; falls only after EASE_MS at a lower rank.
 * @param {{rank: number, lowerSinceMs: number|null}} held
 * @param {number} rank
 * @param {number} nowMs
 * @returns {{rank: number, lowerSinceMs: number|null}}
 */
export function eased(held, rank, nowMs) {
  if (rank >= held.rank) return { rank, lowerSinceMs: null };
  const lowerSinceMs = held.lowerSinceMs ?? nowMs;
  return nowMs - lowerSinceMs < EASE_MS ? { rank: held.rank, lowerSinceMs } : { rank, lowerSinceMs: null };
}

/**
 * Returns the calls in order. A call ranks as its most suspicious participant.
 * @param {ReadonlyMap<string, StreamView>} streams
 * @returns {Group[]}
 */
export function grouped(streams) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const view of streams.values()) {
    const key = view.callId ? `call:${view.callId}` : `stream:${view.id}`;
    const group = groups.get(key) ?? { key, callId: view.callId, members: [] };
    groups.set(key, group);
    group.members.push(view);
  }
  for (const group of groups.values()) group.members.sort(before);
  return [...groups.values()].sort((a, b) => before(a.members[0], b.members[0]));
}

/** @param {StreamView} view @returns {number} its rank; at least just below an open alarm while an alarm has no review */
function urgency(view) {
  return view.unreviewed.length ? Math.max(view.rank, UNREVIEWED) : view.rank;
}

/** @param {StreamView} a @param {StreamView} b @returns {number} */
function before(a, b) {
  return urgency(b) - urgency(a) || compare(a.startedS, b.startedS) || compare(a.id, b.id);
}

/** @param {number|string} a @param {number|string} b @returns {number} */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {StreamView} view @returns {string} the label it is counted and filtered under */
export function standing(view) {
  if (view.ended) return "ENDED";
  return view.verdict ? view.verdict.label : "WAITING";
}

/**
 * Counts streams per label.
 * @param {ReadonlyMap<string, StreamView>} streams
 * @returns {Record<string, number>} `live` counts those that have not ended
 */
export function tally(streams) {
  /** @type {Record<string, number>} */
  const counts = { live: 0 };
  for (const view of streams.values()) {
    const label = standing(view);
    counts[label] = (counts[label] ?? 0) + 1;
    if (!view.ended) counts.live += 1;
  }
  return counts;
}

/** @param {StreamView} view @param {Filter} filter @returns {boolean} */
export function matches(view, { label, text }) {
  if (label && standing(view) !== label) return false;
  const wanted = text.trim().toLowerCase();
  return [view.id, view.callId, view.participantId].some((name) => name.toLowerCase().includes(wanted));
}
