/** One file of the upload queue and its block on the page. */

import { ClipLook } from "./video_viewer.js";
import { clone, setIcon, setText } from "./dom.js";
import { bytesText, labelOf, sentence } from "./format.js";
import { ApiError, errorWords } from "./http.js";
import { analyze, heatMap, kindOf } from "./file_analysis.js";
import { resultBlock, showPictures } from "./file_result.js";

/** @typedef {"waiting"|"running"|"done"|"failed"} JobState */

const PICTURE_PX = 480;
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

export class Job {
  /** Announcement after the end. */
  spoken = "";
  /** @type {JobState} */
  #state = "waiting";
  #abort = new AbortController();
  /** @type {ClipLook|null} */
  #look = null;

  /** @param {File} file @param {{onRemove: () => void, onRetry: () => void}} handlers */
  constructor(file, handlers) {
    const { root, parts } = clone("job-template");
    this.file = file;
    this.root = root;
    this.parts = parts;
    const kind = kindOf(file.name);
    setIcon(parts.kind, kind === "image" ? "image" : kind === "video" ? "film" : "file");
    setText(parts.name, file.name);
    parts.name.title = file.name;
    setText(parts.size, bytesText(file.size));
    parts.remove.addEventListener("click", handlers.onRemove);
    parts.retry.setAttribute("aria-label", `Try ${file.name} again`);
    parts.retry.addEventListener("click", () => {
      this.#show("waiting", "Waiting", 0);
      handlers.onRetry();
    });
    parts.progress.setAttribute("aria-label", `Progress of ${file.name}`);
    this.#show("waiting", "Waiting", 0);
  }

  get isWaiting() {
    return this.#state === "waiting";
  }

  get isOver() {
    return this.#state === "done" || this.#state === "failed";
  }

  /** Runs the job. Never throws. @returns {Promise<unknown>} the error that was shown, if any */
  async run() {
    const options = { signal: this.#abort.signal, onProgress: this.#progressed.bind(this) };
    this.#show("running", "Sending…", 0);
    try {
      const result = await analyze(this.file, options);
      await this.#showResult(result);
      this.#show("done", "", 1);
      this.spoken = `${this.file.name}: ${labelOf(result.label).words}. ${sentence(result.reason_text)}.`;
      return null;
    } catch (error) {
      this.fail(errorWords(error), !(error instanceof ApiError) || PASSING.has(error.status));
      return error;
    }
  }

  cancel() {
    this.#abort.abort();
    this.#look?.close();
    this.root.remove();
  }

  /** @param {string} words @param {boolean} passing whether it may work another time */
  fail(words, passing) {
    this.#show("failed", sentence(words), 0);
    this.spoken = `${this.file.name}: ${words}`;
    this.parts.retry.hidden = !passing;
  }

  /** @param {import("./types.js").FileResult} result */
  async #showResult(result) {
    const { root, parts, chart } = resultBlock(result);
    this.parts.result.replaceChildren(root);
    this.parts.result.hidden = false;
    if (result.file_type === "image") return this.#pictures(parts, result.probabilities.FAKE !== null);
    const frames = result.frame_predictions ?? [];
    if (!chart || !frames.length) return;
    this.#look = new ClipLook(parts, chart, frames, this.#abort.signal);
    await this.#look.open(this.file);
  }

  /** @param {Record<string, any>} parts @param {boolean} scored */
  async #pictures(parts, scored) {
    this.#progressed({ phase: "analyzing", share: null });
    const picture = await createImageBitmap(this.file, { resizeWidth: PICTURE_PX, resizeQuality: "high" }).catch(() => null);
    try {
      const heat = scored ? await heatMap(this.file, this.#abort.signal) : null;
      showPictures(parts, picture, heat, scored ? "" : "No heat map: the picture has no score.");
    } catch (error) {
      showPictures(parts, picture, null, `No heat map: ${errorWords(error)}`);
    }
  }

  /** @param {import("./file_analysis.js").Progress} progress */
  #progressed({ phase, share }) {
    const words = phase === "uploading" ? "Sending" : "Analyzing";
    this.#show("running", share === null ? `${words}…` : `${words}, ${Math.round(share * 100)}\u202f%`, share);
  }

  /** @param {JobState} state @param {string} words @param {number|null} share */
  #show(state, words, share) {
    const { progress, status, remove, retry } = this.parts;
    this.#state = state;
    this.root.dataset.state = state;
    retry.hidden = true;
    if (share === null) progress.removeAttribute("value");
    else progress.value = share;
    setText(status, words);
    remove.setAttribute("aria-label", `${this.isOver ? "Remove" : "Cancel"} ${this.file.name}`);
  }
}
