/**
 * The dialog of one incident: its verdict, its evidence and its review.
 *
 * @typedef {Object} Incident
 * @property {string} id
 * @property {string} stream
 * @property {number} epoch
 * @property {string} participant_id
 * @property {number} opened_s        Unix time
 * @property {number|null} closed_s
 * @property {string|null} close_reason
 * @property {number|null} prob_fake
 * @property {string} review
 * @property {number[]} tracks
 * @property {{name: string, version: string, sha256: string}|null} model
 * @property {{by: string, decision: string, text: string, at_s: number}[]} [notes]
 * @property {{name: string, url: string}[]} [evidence]
 *
 * @typedef {{track: number, box: number[], llr: number|null, prob_fake: number|null, crop: string|null,
 *   heat: string|null}} PicturedFace
 * @typedef {{pts_s: number, frame: string, faces: PicturedFace[]}} PicturedFrame
 */

import { clock } from "./call_model.js";
import { Chart } from "./chart.js";
import { byId, clone, setText } from "./dom.js";
import { CLOSE_REASONS, probability, secondsText } from "./format.js";
import { urlOf } from "./http.js";
import { callHref } from "./router.js";

/** Fills the dialog with an incident. */
export class IncidentView {
  #incident;
  /** @type {Map<string, string>} */
  #urls;

  /** @param {Incident} incident */
  constructor(incident) {
    this.#incident = incident;
    this.#urls = new Map((incident.evidence ?? []).map(({ name, url }) => [name, urlOf(url.slice(1))]));
  }

  /** Loads the evidence. Throws TypeError if it cannot be loaded. */
  async show() {
    const names = ["pictures.json", "samples.json", "rules.json", "case.json"];
    const [frames, samples, rules, kept] = await Promise.all(names.map((name) => this.#json(name)));
    setText(byId("incident-facts"), this.#facts());
    setText(byId("incident-statement"), alarmStatement(rules.decision, kept.verdict));
    byId("incident-call").href = callHref(this.#incident.stream, this.#incident.epoch);
    byId("incident-evidence").replaceChildren(...frames.map((/** @type {PicturedFrame} */ f) => this.#frame(f)));
    byId("incident-blurred").hidden = frames.some((/** @type {PicturedFrame} */ f) => f.faces.some((face) => face.crop));
    this.#chart(samples);
    this.showNotes();
  }

  showNotes() {
    byId("incident-notes").replaceChildren(...(this.#incident.notes ?? []).map((note) => {
      const line = document.createElement("li");
      line.textContent = `${new Date(note.at_s * 1000).toLocaleString()}, ${note.by}: ${note.decision}${
        note.text ? `, ${note.text}` : ""}`;
      return line;
    }));
  }

  #facts() {
    const { prob_fake: prob, close_reason: reason, model } = this.#incident;
    const words = reason === null ? "still open" : `over: ${/** @type {Record<string, string>} */ (CLOSE_REASONS)[reason]}`;
    return `Probability of a fake ${probability(prob)}; ${words}. Model ${model ? `${model.name} ${model.version}` : "unknown"}.`;
  }

  /** @param {string} name @returns {Promise<any>} */
  async #json(name) {
    const response = await fetch(this.#urls.get(name) ?? "");
    if (!response.ok) throw new TypeError(`${name}: ${response.status}`);
    return response.json();
  }

  /** @param {PicturedFrame} frame @returns {HTMLElement} */
  #frame(frame) {
    const { root, parts } = clone("evidence-template");
    parts.frame.src = this.#urls.get(frame.frame) ?? "";
    parts.frame.alt = `The frame at ${secondsText(frame.pts_s)}`;
    for (const face of frame.faces) {
      parts.fit.appendChild(boxOf(face.box));
      for (const [name, alt] of [[face.crop, "The face as the model saw it"], [face.heat, "Heat map: warmer areas suggest a fake"]]) {
        if (name) parts.crops.appendChild(pictureOf(this.#urls.get(name) ?? "", alt ?? ""));
      }
    }
    const worst = Math.max(...frame.faces.map((face) => face.prob_fake ?? 0));
    setText(parts.caption, `At ${secondsText(frame.pts_s)}: ${probability(worst)} fake`);
    return root;
  }

  /** @param {{pts_s: number, faces: {track: number, prob_fake: number|null}[]}[]} samples */
  #chart(samples) {
    const track = this.#incident.tracks[0];
    const points = samples.map((sample) => ({
      x: sample.pts_s, p: sample.faces.find((face) => face.track === track)?.prob_fake ?? null,
    }));
    const [from, to] = [points[0]?.x ?? 0, points.at(-1)?.x ?? 1];
    const holder = byId("incident-chart");
    holder.replaceChildren();
    const look = { axis: /** @type {const} */ ("linear"), left: secondsText(from), right: secondsText(to) };
    new Chart(holder, look).draw(points, { from, to, maxStep: Infinity });
  }
}

/**
 * Returns the statement of the alarm under the rules at its time.
 * @param {{false_alarms_per_hour: number}} decision
 * @param {{end_s: number, faces: {track: number, alarm: boolean}[]}} verdict
 * @returns {string}
 */
export function alarmStatement(decision, verdict) {
  const faces = verdict.faces.filter((face) => face.alarm).map((face) => face.track);
  return `Face ${faces.join(" and ")} reached the alarm level ${clock(verdict.end_s)} into the call. The level allows ${
    decision.false_alarms_per_hour} false alarms per hour.`;
}

/** @param {number[]} box x, y, width, height in shares of the frame @returns {HTMLElement} */
function boxOf([x, y, width, height]) {
  const element = document.createElement("i");
  element.className = "evidence-box";
  const share = (/** @type {number} */ value) => `${(value * 100).toFixed(2)}%`;
  Object.assign(element.style, { left: share(x), top: share(y), width: share(width), height: share(height) });
  return element;
}

/** @param {string} src @param {string} alt @returns {HTMLImageElement} */
function pictureOf(src, alt) {
  const picture = new Image();
  picture.src = src;
  picture.alt = alt;
  return picture;
}
