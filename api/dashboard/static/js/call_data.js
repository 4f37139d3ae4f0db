/**
 * Loads the data of one call: its timeline from the service, and the evidence stored with its alarms.
 *
 * @typedef {import("./call_model.js").Timeline} Timeline
 * @typedef {import("./call_model.js").EvidenceFrame} EvidenceFrame
 * @typedef {import("./alarm_dialog.js").Incident} Incident
 *
 * @typedef {Object} CallData
 * @property {Timeline|null} timeline     null: the service has no timeline, and no alarm stored samples
 * @property {EvidenceFrame[]} frames
 * @property {Incident[]} incidents       of every epoch, newest first
 * @property {string} problem             why the incidents cannot be loaded, or ""
 */

import { keptTimeline, united } from "./call_model.js";
import { ApiError, errorWords, requestJson, urlOf } from "./http.js";

const FRESH = /** @type {const} */ ({ cache: "no-store" });

/**
 * Throws ApiError (401 for a missing key) and TypeError; an unknown call is not an error.
 * @param {string} stream
 * @param {number|null} epoch  null: the latest
 * @returns {Promise<CallData>}
 */
export async function loadCall(stream, epoch) {
  const [found, listed] = await Promise.all([loadTimeline(stream, epoch), alarmsOf(stream)]);
  const shown = found?.timeline.epoch ?? epoch ?? listed.incidents[0]?.epoch;
  const kept = await Promise.all(listed.incidents.filter((incident) => incident.epoch === shown).map(keptBy));
  const known = kept.flatMap((one) => one ?? []);
  return {
    ...listed,
    timeline: found?.timeline ?? (known.length ? keptTimeline(known) : null),
    frames: united([found?.frames ?? [], ...known.map((one) => one.frames)]),
  };
}

/** @param {string} stream @param {number|null} epoch @returns {Promise<{timeline: Timeline, frames: EvidenceFrame[]}|null>} */
async function loadTimeline(stream, epoch) {
  const base = `v1/streams/${encodeURIComponent(stream)}`;
  const query = epoch === null ? "" : `?epoch=${epoch}`;
  try {
    const [timeline, evidence] = await Promise.all(["timeline", "evidence"].map((name) => requestJson(`${base}/${name}${query}`, FRESH)));
    return { timeline, frames: evidence.frames };
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** @param {string} stream @returns {Promise<{incidents: Incident[], problem: string}>} */
async function alarmsOf(stream) {
  try {
    const { incidents } = await requestJson(`v1/incidents?stream=${encodeURIComponent(stream)}&limit=20`, FRESH);
    return { incidents, problem: "" };
  } catch (error) {
    return { incidents: [], problem: errorWords(error) };
  }
}

/**
 * The frames and samples of one incident; null if it was deleted meanwhile.
 * @param {Incident} incident
 */
async function keptBy(incident) {
  try {
    const details = await requestJson(`v1/incidents/${incident.id}`, FRESH);
    const urls = new Map(details.evidence.map((/** @type {any} */ file) => [file.name, file.url]));
    const [frames, samples, { verdict }] = await Promise.all(["pictures.json", "samples.json", "case.json"].map(async (name) =>
      (await fetch(urlOf(String(urls.get(name)).slice(1)))).json()));
    return { incident, verdict, samples, frames: frames.map((/** @type {any} */ frame) => ({ ...frame, url: urls.get(frame.frame) })) };
  } catch {
    return null;
  }
}
