/** The panel "Check a picture or video": a bounded queue of files, analyzed one after the other. */

import { byId, setText } from "./dom.js";
import { bytesText, plural } from "./format.js";
import { ApiError } from "./http.js";
import { Job } from "./upload_job.js";

const MAX_JOBS = 50;

/** @typedef {{maxBytes: number, extensions: string[]}} Limits */

export class UploadPanel {
  /** @type {Job[]} newest first, as on the page */
  #jobs = [];
  #busy = false;
  /** @type {Limits} */
  #limits = { maxBytes: Infinity, extensions: [] };

  /** @param {{onRefused: () => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.input = byId("upload-input");
    byId("upload-choose").addEventListener("click", () => this.input.click());
    byId("upload-clear").addEventListener("click", () => this.#clear());
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

  /** Adds files; reports those above the limit of the queue. @param {File[]} files */
  add(files) {
    const pending = this.#jobs.filter((job) => !job.isOver);
    const taken = files.slice(0, MAX_JOBS - pending.length);
    for (const job of this.#jobs.filter((old) => old.isOver).slice(MAX_JOBS - pending.length - taken.length)) this.#forget(job);
    for (const file of taken) this.#addJob(file);
    const left = files.length - taken.length;
    setText(byId("upload-status"), left ? `${plural(left, "file")} left out: at most ${MAX_JOBS} wait at a time.` : "");
    this.#next();
  }

  /** @param {File} file */
  #addJob(file) {
    const job = new Job(file, { onRemove: () => this.#drop(job), onRetry: () => this.#next() });
    this.#jobs.unshift(job);
    byId("queue").prepend(job.root);
    const refusal = this.#refusal(file);
    if (refusal) job.fail(refusal, false);
    this.#showTools();
  }

  /** What need not be sent to be refused. @param {File} file @returns {string} */
  #refusal(file) {
    const { maxBytes, extensions } = this.#limits;
    const name = file.name.toLowerCase();
    if (extensions.length && !extensions.some((extension) => name.endsWith(extension))) {
      return `This file type is not supported. Use ${extensions.join(", ")}.`;
    }
    if (file.size > maxBytes) return `The file is too large: ${bytesText(file.size)}; the limit is ${bytesText(maxBytes)}.`;
    return file.size ? "" : "The file is empty.";
  }

  async #next() {
    const job = this.#jobs.findLast((waiting) => waiting.isWaiting);
    if (this.#busy || !job) return;
    this.#busy = true;
    const error = await job.run();
    this.#busy = false;
    if (error instanceof ApiError && error.status === 401) this.handlers.onRefused();
    setText(byId("upload-spoken"), job.spoken);
    this.#showTools();
    this.#next();
  }

  /** @param {Job} job */
  #drop(job) {
    this.#forget(job);
    byId("upload-choose").focus({ preventScroll: true });
  }

  /** @param {Job} job */
  #forget(job) {
    job.cancel();
    this.#jobs = this.#jobs.filter((other) => other !== job);
    this.#showTools();
  }

  #clear() {
    for (const job of this.#jobs.filter((old) => old.isOver)) this.#forget(job);
    byId("upload-choose").focus({ preventScroll: true });
  }

  #showTools() {
    const over = this.#jobs.filter((job) => job.isOver).length;
    byId("upload-tools").hidden = this.#jobs.length < 2;
    byId("upload-clear").disabled = over === 0;
    setText(byId("upload-count"), `${over} of ${plural(this.#jobs.length, "file")} done`);
  }

  /** Prevents a file dropped beside the field from replacing the page. @param {HTMLElement} zone */
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
