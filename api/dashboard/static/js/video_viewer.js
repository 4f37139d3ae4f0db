/** Viewer of an analyzed video: a slider along its chart, the frame, and its heat map. */

import { Clip } from "./video_frames.js";
import { setText } from "./dom.js";
import { probability, secondsText } from "./format.js";
import { errorWords } from "./http.js";
import { heatMap } from "./file_analysis.js";
import { paint } from "./file_result.js";

/** @typedef {{pts_s: number, prob_fake: number|null}} Frame  in percent */

const SETTLE_MS = 350;      // a heat map costs an inference: none is requested while the slider moves

export class ClipLook {
  /** @type {Clip|null} */
  #clip = null;
  /** @type {Map<number, ImageBitmap|string>} heat map per frame, or the reason why there is none */
  #heat = new Map();
  #timer = 0;
  #at = 0;

  /**
   * @param {Record<string, any>} parts elements of the result
   * @param {import("./chart.js").Chart} chart
   * @param {readonly Frame[]} frames
   * @param {AbortSignal} signal
   */
  constructor(parts, chart, frames, signal) {
    this.parts = parts;
    this.chart = chart;
    this.frames = frames;
    this.signal = signal;
  }

  /** Opens a file at its most suspicious frame. Never throws. @param {File} file */
  async open(file) {
    const { parts, frames } = this;
    parts.scrub.max = String(frames.length - 1);
    parts.scrub.value = String(mostSuspicious(frames));
    parts["scrub-field"].hidden = false;
    parts.scrub.addEventListener("input", () => this.#moved());
    parts["heat-on"].addEventListener("change", () => this.#showHeat());
    this.#clip = await Clip.open(file).catch(() => null);
    parts.pictures.hidden = !this.#clip;
    await this.#moved();
  }

  close() {
    clearTimeout(this.#timer);
    this.#clip?.close();
    for (const heat of this.#heat.values()) if (typeof heat !== "string") heat.close();
  }

  async #moved() {
    this.#at = Number(this.parts.scrub.value);
    const { pts_s, prob_fake } = this.frames[this.#at];
    const said = prob_fake === null ? "no face" : `${probability(prob_fake / 100)} fake`;
    const words = `At ${secondsText(pts_s)}: ${said}`;
    this.parts.scrub.setAttribute("aria-valuetext", words);
    setText(this.parts["scrub-words"], this.#clip ? words : `${words}. This browser cannot show the frame.`);
    this.chart.setCursor(pts_s);
    clearTimeout(this.#timer);
    if (this.#clip) await this.#showFrame(this.#clip, this.#at);
  }

  /** @param {Clip} clip @param {number} at */
  async #showFrame(clip, at) {
    const canvas = await clip.frameAt(this.frames[at].pts_s).catch(() => null);
    if (!canvas || at !== this.#at) return;
    paint(this.parts.picture, canvas);
    this.#showHeat();
    if (!this.#heat.has(at)) this.#timer = setTimeout(() => this.#fetchHeat(canvas, at), SETTLE_MS);
  }

  /** @param {HTMLCanvasElement} canvas @param {number} at */
  async #fetchHeat(canvas, at) {
    if (this.frames[at].prob_fake === null) {
      this.#heat.set(at, "No heat map: this frame has no score.");
    } else {
      const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
      const heat = await heatMap(new File([picture], "frame.jpg"), this.signal).catch((error) => `No heat map: ${errorWords(error)}`);
      this.#heat.set(at, heat);
    }
    if (at === this.#at) this.#showHeat();
  }

  #showHeat() {
    const heat = this.#heat.get(this.#at);
    const there = heat !== undefined && typeof heat !== "string";
    this.parts.heat.hidden = !there || !this.parts["heat-on"].checked;
    this.parts["heat-switch"].hidden = typeof heat === "string";
    if (there) paint(this.parts.heat, heat);
    const words = heat === undefined ? "Loading the heat map…" : "Warmer areas suggest a fake";
    setText(this.parts["heat-caption"], typeof heat === "string" ? heat : words);
  }
}

/** @param {readonly Frame[]} frames @returns {number} its index */
function mostSuspicious(frames) {
  return frames.reduce((best, frame, at) => ((frame.prob_fake ?? -1) > (frames[best].prob_fake ?? -1) ? at : best), 0);
}
