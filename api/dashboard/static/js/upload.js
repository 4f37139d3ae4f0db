/** The panel "Check a picture or video": a queue of files, judged one after the other. */

import { byId, clone, setIcon, setText } from "./dom.js";
import { bytesText, sentence } from "./format.js";
import { ApiError, errorWords } from "./http.js";
import { heatMap, judge, kindOf } from "./judge.js";
import { resultBlock, showPictures } from "./result.js";

const PICTURE_PX = 480;

/** @typedef {{maxBytes: number, extensions: string[]}} Limits */

export class UploadPanel {
  /** @type {Job[]} */
  #waiting = [];
  #busy = false;
  /** @type {Limits} */
  #limits = { maxBytes: Infinity, extensions: [] };

  /** @param {{onRefused: () => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.input = byId("upload-input");
    byId("upload-choose").addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => {
      this.add([...this.input.files]);
      this.input.value = "";
    });
    this.#acceptDrops(byId("drop"));
  }

  /** @param {Limits} limits */
  setLimits(limits) {
    this.#limits = limits;
    this.input.accept = limits.extensions.join(",");
    const names = limits.extensions.map((extension) => extension.slice(1).toUpperCase());
    setText(byId("upload-limits"), `${names.join(", ")}, up to ${bytesText(limits.maxBytes)}`);
  }

  /** @param {File[]} files */
  add(files) {
    for (const file of files) {
      const job = new Job(file, () => this.#drop(job));
      byId("queue").prepend(job.root);
      const refusal = this.#refusal(file);
      if (refusal) job.fail(refusal);
      else this.#waiting.push(job);
    }
    this.#next();
  }

  /** What need not be sent to be refused. @param {File} file @returns {string} */
  #refusal(file) {
    const { maxBytes, extensions } = this.#limits;
    const name = file.name.toLowerCase();
    if (extensions.length && !extensions.some((extension) => name.endsWith(extension))) {
      return `This kind of file is not accepted. Use ${extensions.join(", ")}.`;
    }
    if (file.size > maxBytes) return `The file is too large: ${bytesText(file.size)}, and ${bytesText(maxBytes)} is the limit.`;
    return file.size ? "" : "The file is empty.";
  }

  async #next() {
    if (this.#busy) return;
    const job = this.#waiting.shift();
    if (!job) return;
    this.#busy = true;
    const error = await job.run();
    this.#busy = false;
    if (error instanceof ApiError && error.status === 401) this.handlers.onRefused();
    this.#next();
  }

  /** @param {Job} job */
  #drop(job) {
    this.#waiting = this.#waiting.filter((other) => other !== job);
    job.cancel();
    byId("upload-choose").focus({ preventScroll: true });
  }

  /** A file dropped beside the field must not replace the page. @param {HTMLElement} zone */
  #acceptDrops(zone) {
    addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.toggleAttribute("data-over", zone.contains(/** @type {Node} */ (event.target)));
    });
    addEventListener("dragleave", () => zone.removeAttribute("data-over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      zone.removeAttribute("data-over");
      this.add([...(event.dataTransfer?.files ?? [])]);
    });
  }
}

/** One file of the queue and its block on the page. */
class Job {
  #abort = new AbortController();

  /** @param {File} file @param {() => void} onRemove */
  constructor(file, onRemove) {
    const { root, parts } = clone("job-template");
    this.file = file;
    this.root = root;
    this.parts = parts;
    const kind = kindOf(file.name);
    setIcon(parts.kind, kind === "image" ? "image" : kind === "video" ? "film" : "file");
    setText(parts.name, file.name);
    setText(parts.size, bytesText(file.size));
    parts.remove.setAttribute("aria-label", `Remove ${file.name}`);
    parts.remove.addEventListener("click", onRemove);
    parts.progress.setAttribute("aria-label", `Progress of ${file.name}`);
    this.#show("waiting", "Waiting", 0);
  }

  /** Never raises. @returns {Promise<unknown>} the error it showed, if there was one */
  async run() {
    const options = { signal: this.#abort.signal, onProgress: this.#progressed.bind(this) };
    try {
      const result = await judge(this.file, options);
      const { root, parts } = resultBlock(result);
      this.parts.result.replaceChildren(root);
      this.parts.result.hidden = false;
      if (result.file_type === "image") await this.#pictures(parts, result.probabilities.FAKE !== null);
      this.#show("done", "", 1);
      return null;
    } catch (error) {
      this.fail(errorWords(error));
      return error;
    }
  }

  cancel() {
    this.#abort.abort();
    this.root.remove();
  }

  /** @param {string} words */
  fail(words) {
    this.#show("failed", sentence(words), 0);
  }

  /** @param {Record<string, any>} parts @param {boolean} scored */
  async #pictures(parts, scored) {
    this.#progressed({ phase: "judging", share: null });
    const picture = await createImageBitmap(this.file, { resizeWidth: PICTURE_PX, resizeQuality: "high" }).catch(() => null);
    try {
      const heat = scored ? await heatMap(this.file, this.#abort.signal) : null;
      showPictures(parts, picture, heat, scored ? "" : "No heat map: there is no score to explain.");
    } catch (error) {
      showPictures(parts, picture, null, `No heat map: ${errorWords(error)}`);
    }
  }

  /** @param {import("./judge.js").Progress} progress */
  #progressed({ phase, share }) {
    const words = phase === "uploading" ? "Sending" : "Judging";
    this.#show("running", `${words}…`, share);
  }

  /** @param {string} state @param {string} words @param {number|null} share */
  #show(state, words, share) {
    const { progress, status } = this.parts;
    this.root.dataset.state = state;
    if (share === null) progress.removeAttribute("value");
    else progress.value = share;
    setText(status, words);
  }
}
