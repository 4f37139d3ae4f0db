/**
 * Data model of one call: timeline, evidence frames and cursor. No DOM.
 *
 * @typedef {[number, number, number, number]} Spread   lowest, mean, highest, count
 *
 * @typedef {Object} Bucket        verdicts of (start_s, end_s], media time (docs/contracts/rest.md)
 * @property {number} start_s
 * @property {number} end_s
 * @property {string} label
 * @property {boolean} alarm
 * @property {Spread|null} prob_fake
 * @property {number|null} suspicion
 * @property {Spread|null} coverage
 * @property {Spread|null} age_ms
 * @property {number} rate_hz
 * @property {number} faces
 * @property {Spread|null} quality
 * @property {Record<string, number>} dropped
 *
 * @typedef {{kind: string, at_s: number, incident: string, why: string}} Mark
 * @typedef {{track: number, box: number[], llr: number|null, prob_fake: number|null, frequency_score: number|null,
 *   heat_map: number[], spectrum: number[]}} EvidenceFace
 * @typedef {{sequence: number, pts_s: number, url: string, faces: EvidenceFace[]}} EvidenceFrame
 *
 * @typedef {Object} Timeline
 * @property {string} stream
 * @property {number} epoch
 * @property {number[]} epochs
 * @property {string} source
 * @property {string} call_id
 * @property {string} participant_id
 * @property {number} started_s
 * @property {"live"|"ended"|"kept"} state   kept: only samples stored with its alarms are left
 * @property {{reason: string, message: string}|null} ended
 * @property {import("./types.js").Verdict|null} verdict
 * @property {readonly Bucket[]} buckets
 * @property {readonly Mark[]} marks
 */

import { labelOf, percent, plural, probability, sentence } from "./format.js";

const HOP_S = 0.5;
const JOINED_S = 2.6;       // verdicts that are further apart are not joined: the slowest pace has one every 2 s

/**
 * Returns the timeline after one event of its stream; the same object if the event changes nothing.
 * @param {Timeline} timeline
 * @param {any} event
 * @returns {Timeline}
 */
export function followed(timeline, event) {
  if (event.stream !== timeline.stream || event.epoch !== timeline.epoch) return timeline;
  switch (event.type) {
    case "verdict":
      return withVerdict(timeline, event);
    case "incident.opened":
      return withMark(timeline, { kind: "alarm_opened", at_s: event.pts_s, incident: event.id, why: "" });
    case "incident.closed":
      return withMark(timeline, { kind: "alarm_closed", at_s: event.pts_s, incident: event.id, why: event.reason });
    case "stream.gap":
      return withMark(timeline, { kind: "gap", at_s: event.from_s, incident: "", why: event.cause });
    case "stream.stalled":
      return withMark(timeline, { kind: "stalled", at_s: event.from_s, incident: "", why: "" });
    case "stream.ended":
      return { ...timeline, state: "ended", ended: { reason: event.reason, message: event.message } };
    default:
      return timeline;
  }
}

/** @param {Timeline} timeline @param {Mark} mark @returns {Timeline} */
function withMark(timeline, mark) {
  return { ...timeline, marks: [...timeline.marks, mark] };
}

/** @param {Timeline} timeline @param {import("./types.js").Verdict} verdict @returns {Timeline} */
function withVerdict(timeline, verdict) {
  const before = timeline.verdict;
  if (before && before.sequence >= verdict.sequence) return timeline;
  return { ...timeline, verdict, buckets: [...timeline.buckets, bucketOf(verdict, before)] };
}

/** @param {any} verdict @param {any} before @returns {Bucket} */
function bucketOf(verdict, before) {
  const best = verdict.faces.reduce((/** @type {any} */ a, /** @type {any} */ b) => (a && a.quality.weight >= b.quality.weight ? a : b), null);
  const known = before?.frames.dropped ?? {};
  const more = Object.entries(verdict.frames.dropped).map(([cause, count]) => [cause, Number(count) - (known[cause] ?? 0)]);
  return {
    start_s: Math.max(before?.end_s ?? 0, verdict.end_s - HOP_S), end_s: verdict.end_s, label: verdict.label, alarm: verdict.alarm,
    prob_fake: verdict.prob_fake === null ? null : one(verdict.prob_fake),
    suspicion: verdict.decision ? Math.max(0, ...verdict.faces.map((/** @type {any} */ face) => face.suspicion)) : null,
    coverage: one(verdict.coverage), age_ms: one(verdict.age_ms), rate_hz: verdict.rate_hz, faces: verdict.faces.length,
    quality: best ? one(best.quality.weight) : null, dropped: Object.fromEntries(more.filter(([, count]) => Number(count) > 0)),
  };
}

/** @param {number} value @returns {Spread} */
function one(value) {
  return [value, value, value, 1];
}

/**
 * Returns runs of adjacent buckets that a line may connect, by time.
 * @param {readonly Bucket[]} buckets
 * @param {(bucket: Bucket) => boolean} [has]  whether the bucket has a value for this chart
 * @returns {Bucket[][]}
 */
export function stretches(buckets, has = () => true) {
  /** @type {Bucket[][]} */
  const found = [];
  for (const bucket of buckets) {
    if (!has(bucket)) {
      found.push([]);
      continue;
    }
    const run = found.at(-1);
    const last = run?.at(-1);
    if (run && last && bucket.start_s - last.end_s <= JOINED_S) run.push(bucket);
    else found.push([bucket]);
  }
  return found.filter((run) => run.length);
}

/** Returns intervals of media time without a verdict. @param {readonly Bucket[]} buckets @returns {[number, number][]} */
export function silences(buckets) {
  /** @type {[number, number][]} */
  const found = [];
  let at = 0;
  for (const bucket of buckets) {
    if (bucket.start_s - at > JOINED_S) found.push([at, bucket.start_s]);
    at = bucket.end_s;
  }
  return found;
}

/** Returns the end of the timeline; a running call shows at least one minute. @param {Timeline} timeline @returns {number} s */
export function extentOf(timeline) {
  return Math.max(timeline.state === "live" ? 60 : 4, timeline.buckets.at(-1)?.end_s ?? 0, timeline.marks.at(-1)?.at_s ?? 0);
}

/** @param {readonly Bucket[]} buckets @param {number} atS @returns {Bucket|null} that contains the time or is closest to it */
export function bucketAt(buckets, atS) {
  return closest(buckets, (bucket) => Math.max(bucket.start_s - atS, atS - bucket.end_s, 0));
}

/** @param {readonly EvidenceFrame[]} frames @param {number} atS @returns {EvidenceFrame|null} */
export function frameAt(frames, atS) {
  return closest(frames, (frame) => Math.abs(frame.pts_s - atS));
}

/**
 * @template T
 * @param {readonly T[]} items
 * @param {(item: T) => number} distance
 * @returns {T|null}
 */
function closest(items, distance) {
  return items.reduce((/** @type {T|null} */ best, item) => (best === null || distance(item) < distance(best) ? item : best), null);
}

/**
 * Returns the next cursor position for a key; null follows the live call.
 * @param {string} key
 * @param {number} atS
 * @param {Timeline} timeline
 * @param {readonly EvidenceFrame[]} frames
 * @returns {number|null|undefined}  undefined: the key has no function here
 */
export function stepped(key, atS, timeline, frames) {
  const ends = timeline.buckets.map((bucket) => bucket.end_s);
  switch (key) {
    case "ArrowLeft":
    case "ArrowDown":
      return ends.findLast((end) => end < atS - 1e-6) ?? ends[0];
    case "ArrowRight":
    case "ArrowUp":
      return ends.find((end) => end > atS + 1e-6) ?? null;
    case "PageUp":
      return frames.findLast((frame) => frame.pts_s < atS - 1e-6)?.pts_s;
    case "PageDown":
      return frames.find((frame) => frame.pts_s > atS + 1e-6)?.pts_s;
    case "Home":
      return ends[0];
    case "End":
      return null;
    default:
      return undefined;
  }
}

/** Merges frames without duplicates, by time. @param {EvidenceFrame[][]} sources @returns {EvidenceFrame[]} */
export function united(sources) {
  const bySequence = new Map(sources.flat().map((frame) => [frame.sequence, frame]));
  return [...bySequence.values()].sort((a, b) => a.pts_s - b.pts_s);
}

/** @param {number} seconds of media time @returns {string} as h:mm:ss */
export function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Returns the text of a bucket. @param {Bucket} bucket @returns {string} */
export function bucketWords(bucket) {
  const drops = Object.values(bucket.dropped).reduce((sum, count) => sum + count, 0);
  return [
    `${clock(bucket.end_s)}: ${labelOf(bucket.label).words.toLowerCase()}`,
    bucket.prob_fake && `probability of a fake ${probability(bucket.prob_fake[1])}`,
    bucket.suspicion !== null && `alarm level ${percent(bucket.suspicion)}`,
    bucket.alarm && "alarm open",
    bucket.coverage && bucket.coverage[1] < 1 && `coverage ${percent(bucket.coverage[1])}`,
    drops > 0 && `${plural(drops, "drop")}`,
  ].filter(Boolean).join(", ");
}

/** Returns the text of a mark. @param {Mark} mark @returns {string} */
export function markWords(mark) {
  const names = /** @type {Record<string, string>} */ ({
    alarm_opened: "alarm opened", alarm_closed: "alarm over", gap: `gap: ${mark.why.replaceAll("_", " ")}`, stalled: "no video for a while",
  });
  return sentence(`${names[mark.kind] ?? mark.kind} at ${clock(mark.at_s)}`);
}

/**
 * Returns the text on the false-alarm rate and the state of this call.
 * @param {{false_alarms_per_hour: number, limit: number|null, expected_delay_s: number|null}|null} policy
 * @param {Timeline} timeline
 * @returns {string}
 */
export function statement(policy, timeline) {
  if (!policy) return "";
  const budget = `The alarm level allows ${policy.false_alarms_per_hour} false alarms per hour.`;
  if (policy.limit === null) return "No alarm can be raised: there is no model, or its evidence was not measured.";
  const opened = timeline.marks.filter((mark) => mark.kind === "alarm_opened");
  const level = timeline.verdict?.decision ? Math.max(0, ...timeline.verdict.faces.map((face) => face.suspicion ?? 0)) : null;
  const stands = level === null ? "" : ` The most suspicious face is at ${percent(level)} of the alarm level.`;
  if (opened.length) return `Alarm at ${opened.map((mark) => clock(mark.at_s)).join(", ")}.${stands} ${budget}`;
  const delay = policy.expected_delay_s === null ? " This model cannot reach the alarm level."
    : ` A detectable fake reaches it after about ${Math.round(policy.expected_delay_s)} s.`;
  return `No alarm so far.${stands || " No verdict yet."} ${budget}${delay}`;
}

/**
 * Returns the text that compares a face's spectrum with real faces.
 * @param {number[]} spectrum  32 bands, or empty
 * @param {{low: number[], high: number[], faces: number}|null} real
 * @returns {string}
 */
export function spectrumWords(spectrum, real) {
  if (!real) return "The spectrum of real faces cannot be loaded.";
  if (!spectrum.length) return "Available for evidence frames with a face of at least 96 px.";
  const inside = spectrum.filter((power, band) => power >= real.low[band] && power <= real.high[band]).length;
  const third = Math.floor(spectrum.length * 2 / 3);
  const fine = spectrum.slice(third).reduce((sum, power, band) => sum + Math.sign(Math.max(0, power - real.high[band + third]) - Math.max(0, real.low[band + third] - power)), 0);
  const tail = fine > 2 ? " Fine detail is stronger than in most real faces." : fine < -2 ? " Fine detail is weaker than in most real faces." : "";
  return `${inside} of ${spectrum.length} bands lie where 90 % of ${real.faces} real faces lie.${tail} A hint, not a proof: the decision does not count it.`;
}

/**
 * Returns the problem that impairs the verdicts of a call, or "".
 * @param {Timeline} timeline
 * @returns {string}
 */
export function troubleOf(timeline) {
  const last = timeline.buckets.at(-1);
  if (timeline.state !== "live" || !last) return "";
  const words = [];
  const stalled = timeline.marks.findLast((mark) => mark.kind === "stalled");
  if (stalled && stalled.at_s >= last.end_s - 5) words.push(`No video from the sender since ${clock(stalled.at_s)}.`);
  if (last.coverage && last.coverage[1] < 0.5) words.push(`Verdicts are less reliable: only ${percent(last.coverage[1])} of the samples were analyzed.`);
  if (last.rate_hz < 2) words.push(`The service is busy: it samples this call ${last.rate_hz} times a second instead of 2.`);
  return words.join(" ");
}

/**
 * Returns the status text of a call without problems.
 * @param {Timeline} timeline
 * @returns {string}
 */
export function restOf(timeline) {
  if (timeline.state === "kept") return "The call history has expired. Shown are the samples stored with its alarm.";
  if (timeline.state === "ended") return "The call has ended. Its history is available for 15 minutes.";
  return timeline.verdict ? "Video arrives and is analyzed normally." : "Waiting for the first verdict.";
}

/**
 * Builds a timeline from the samples stored with alarms, one bucket per sample.
 * @param {{incident: any, verdict: any, samples: any[]}[]} kept  at least one, of one epoch, newest first
 * @returns {Timeline}
 */
export function keptTimeline(kept) {
  const { stream, epoch, source, call_id, participant_id } = kept[0].incident;
  const bySequence = new Map(kept.flatMap(({ samples }) => samples.map((sample) => [sample.sequence, sample])));
  const samples = [...bySequence.values()].sort((a, b) => a.pts_s - b.pts_s);
  const marks = kept.map(({ incident }) => ({ kind: "alarm_opened", at_s: incident.pts_s, incident: incident.id, why: "" }));
  const began = Math.min(...kept.map(({ incident }) => incident.opened_s - incident.pts_s));
  return {
    stream, epoch, epochs: [epoch], source, call_id, participant_id, started_s: began, state: "kept", ended: null, verdict: kept[0].verdict,
    buckets: samples.map((sample, index) => sampleBucket(sample, samples[index - 1])), marks: marks.sort((a, b) => a.at_s - b.at_s),
  };
}

/** @param {any} sample @param {any} before @returns {Bucket} */
function sampleBucket(sample, before) {
  const worst = Math.max(...sample.faces.map((/** @type {any} */ face) => face.prob_fake ?? -1));
  const weights = sample.faces.map((/** @type {any} */ face) => face.quality.weight);
  return {
    start_s: Math.max(before?.pts_s ?? 0, sample.pts_s - HOP_S), end_s: sample.pts_s, label: sample.faces.length ? "UNCERTAIN" : "NO_FACE",
    alarm: false, prob_fake: worst < 0 ? null : one(worst), suspicion: null, coverage: null, age_ms: null, rate_hz: 0,
    faces: sample.faces.length, quality: weights.length ? one(Math.max(...weights)) : null, dropped: {},
  };
}
