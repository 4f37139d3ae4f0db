/** Texts of numbers and codes. No DOM. */

/** @typedef {"REAL"|"FAKE"|"UNCERTAIN"|"NO_FACE"} Label */

/** @type {Record<string, {words: string, icon: string}>} */
const LABELS = {
  FAKE: { words: "Likely fake", icon: "fake" },
  REAL: { words: "Likely real", icon: "real" },
  UNCERTAIN: { words: "Uncertain", icon: "uncertain" },
  NO_FACE: { words: "No face", icon: "noface" },
  WAITING: { words: "Waiting", icon: "waiting" },
  ENDED: { words: "Ended", icon: "ended" },
};

/** Copy of `REASON_TEXT` in stream/events.py; a test compares them. */
export const REASONS = Object.freeze({
  evidence_fake: "a face reached the alarm level",
  evidence_real: "no sign of manipulation was found",
  between_bounds: "the evidence points neither way",
  monitoring: "no face is near the alarm level",
  suspect: "a face is approaching the alarm level",
  insufficient_evidence: "too few usable pictures of the face so far",
  face_too_small: "every face is too small to judge",
  low_coverage: "too little of the media could be examined",
  uncalibrated: "the detection model was not calibrated, so its scores are no probabilities",
  no_model: "no detection model is loaded",
  scorer_failed: "the detection model could not run",
  no_face: "no face was seen",
  no_frames: "no frame could be decoded",
});

/** Keys: `EndReason` in stream/types.py, and `lost` (ended while the page was disconnected). */
export const END_REASONS = Object.freeze({
  publisher_left: "the sender left",
  stopped: "stopped by an operator",
  never_connected: "the sender never connected",
  silent: "the sender went silent",
  end_of_media: "the recording is over",
  failed: "it failed",
  shutdown: "the service shut down",
  lost: "it ended while this page was offline",
});

/** Why an incident closed. Keys: `CloseReason` in stream/types.py. */
export const CLOSE_REASONS = Object.freeze({
  alarm_over: "the evidence fell again",
  stream_ended: "the call ended",
  interrupted: "the service was interrupted",
});

/** @param {string} label @returns {{words: string, icon: string}} */
export function labelOf(label) {
  return LABELS[label] ?? { words: label, icon: "waiting" };
}

/**
 * Returns the headline of a live call's verdict. An undecided call without suspicion is not called uncertain.
 * @param {{label: string, reason: string, alarm?: boolean}} verdict
 * @returns {string}
 */
export function verdictWords({ label, reason, alarm }) {
  if (alarm) return LABELS.FAKE.words;
  if (label === "UNCERTAIN" && reason === "monitoring") return "No sign of manipulation so far";
  if (label === "UNCERTAIN" && reason === "suspect") return "Suspicious";
  return labelOf(label).words;
}

/** @param {string} text @returns {string} */
export function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}

/** @param {string} reason @returns {string} */
export function reasonText(reason) {
  return sentence(/** @type {Record<string, string>} */ (REASONS)[reason] ?? reason.replaceAll("_", " "));
}

/** @param {{reason: string, message: string}} ended @returns {string} */
export function endText(ended) {
  const words = /** @type {Record<string, string>} */ (END_REASONS)[ended.reason] ?? ended.reason.replaceAll("_", " ");
  return ended.message ? `${sentence(words)}: ${ended.message}` : sentence(words);
}

/** Formats a probability; never rounds to 0 or 100 %. @param {number|null|undefined} p 0..1 @returns {string} */
export function probability(p) {
  if (p === null || p === undefined) return "–";
  if (p > 0.99) return ">\u202f99\u202f%";
  return p < 0.01 ? "<\u202f1\u202f%" : percent(p);
}

/** @param {number|null|undefined} share 0..1 @returns {string} */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(share * 100)}\u202f%`;
}

/** @param {number} ms @returns {string} */
export function ageText(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : secondsText(ms / 1000);
}

/** @param {number} seconds @returns {string} */
export function secondsText(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} hz @returns {string} */
export function rateText(hz) {
  return `${Number(hz.toFixed(1))}/s`;
}

/** @param {number} bytes @returns {string} */
export function bytesText(bytes) {
  if (bytes < 1024) return plural(bytes, "byte");
  if (bytes < 2 ** 20) return `${Math.round(bytes / 1024)}\u00a0kB`;
  return `${Number((bytes / 2 ** 20).toFixed(1))}\u00a0MB`;
}

/** @param {string} source @returns {string} */
export function sourceText(source) {
  const names = /** @type {Record<string, string>} */ ({
    whip: "WebRTC", whep: "WHEP", file: "File", kafka: "Kafka", rtp: "RTP", rtsp: "RTSP", rtmp: "RTMP", hls: "HLS", http: "HTTP",
  });
  return names[source] ?? sentence(source);
}

/** @param {number} count @param {string} noun @returns {string} */
export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
