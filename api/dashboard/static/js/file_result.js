/** Shows the verdict on a file in the upload queue. */

import { Chart } from "./chart.js";
import { clone, setIcon, setText } from "./dom.js";
import { labelOf, secondsText, sentence } from "./format.js";

/** @typedef {import("./types.js").FileResult} FileResult */

/**
 * @param {FileResult} result
 * @returns {{root: HTMLElement, parts: Record<string, any>, chart: Chart|null}}
 */
export function resultBlock(result) {
  const block = clone("result-template");
  const { parts } = block;
  const { words, icon } = labelOf(result.label);
  parts.verdict.dataset.label = result.label;
  setIcon(parts.icon, icon);
  setText(parts.label, words);
  setText(parts.reason, sentence(result.reason_text));
  showBars(parts, result);
  showFacts(parts.facts, result);
  return { ...block, chart: result.frame_predictions?.length ? showChart(parts, result.frame_predictions) : null };
}

/** @param {Record<string, any>} parts @param {FileResult} result */
function showBars(parts, result) {
  const { FAKE, REAL } = result.probabilities;
  parts.bars.hidden = FAKE === null || REAL === null;
  for (const [name, value] of /** @type {[string, number][]} */ ([["fake", FAKE ?? 0], ["real", REAL ?? 0]])) {
    setText(parts[name], `${value.toFixed(1)}\u202f%`);
    parts[`${name}-bar`].style.width = `${value}%`;
  }
}

/** @param {HTMLElement} list @param {FileResult} result */
function showFacts(list, result) {
  /** @type {[string, string][]} */
  const facts = [];
  const add = (/** @type {string} */ name, /** @type {unknown} */ value, /** @type {string} */ text) => {
    if (value !== null && value !== undefined) facts.push([name, text]);
  };
  const fakes = (result.segments ?? []).filter((segment) => segment.label === "FAKE");
  add("Fake", fakes[0], fakes.map((each) => `${secondsText(each.start_s)} to ${secondsText(each.end_s)}`).join(", "));
  add("Frames analyzed", result.frames_analyzed, `${result.frames_analyzed} of ${result.total_frames}`);
  add("Faces", result.faces_detected, String(result.faces_detected));
  add("Consistency", result.consistency_score, `${Math.round(result.consistency_score ?? 0)}\u202f%`);
  add("Frequency score", result.frequency_score, (result.frequency_score ?? 0).toFixed(2));
  add("Time taken", result.processing_time, secondsText(result.processing_time));
  for (const [name, text] of facts) {
    const pair = list.appendChild(document.createElement("div"));
    pair.appendChild(document.createElement("dt")).textContent = name;
    pair.appendChild(document.createElement("dd")).textContent = text;
  }
}

/** @param {Record<string, any>} parts @param {{pts_s: number, prob_fake: number|null}[]} frames @returns {Chart} */
function showChart(parts, frames) {
  const [from, to] = [frames[0].pts_s, frames[frames.length - 1].pts_s];
  const points = frames.map((frame) => ({ x: frame.pts_s, p: frame.prob_fake === null ? null : frame.prob_fake / 100 }));
  const look = { axis: /** @type {const} */ ("linear"), left: secondsText(from), right: secondsText(to) };
  parts["chart-figure"].hidden = false;
  const chart = new Chart(parts.chart, look);
  chart.draw(points, { from, to, maxStep: Infinity });
  setText(parts["chart-caption"], "Probability of a fake, frame by frame");
  return chart;
}

/**
 * Shows the picture with its heat map, which can be switched off.
 * @param {Record<string, any>} parts
 * @param {ImageBitmap|null} picture
 * @param {ImageBitmap|null} heat
 * @param {string} problem why there is no heat map, or ""
 */
export function showPictures(parts, picture, heat, problem) {
  parts.pictures.hidden = false;
  for (const [canvas, bitmap] of [[parts.picture, picture], [parts.heat, heat]]) {
    if (bitmap) paint(canvas, bitmap);
    bitmap?.close();
  }
  parts.heat.hidden = heat === null;
  parts["heat-switch"].hidden = heat === null;
  parts["heat-on"].addEventListener("change", () => { parts.heat.hidden = !parts["heat-on"].checked; });
  setText(parts["heat-caption"], problem || "Warmer areas suggest a fake");
}

/** @param {HTMLCanvasElement} canvas @param {ImageBitmap|HTMLCanvasElement} picture */
export function paint(canvas, picture) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d")?.drawImage(picture, 0, 0);
}
