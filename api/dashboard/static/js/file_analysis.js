/** Uploads a file and returns its verdict; videos run as jobs with progress. No DOM. */

import { ApiError, authHeaders, request, requestJson, urlOf } from "./http.js";

/** @typedef {import("./types.js").FileResult} FileResult */

const POLL_MS = 700;

const KINDS = /** @type {Record<string, "image"|"video">} */ ({
  jpg: "image", jpeg: "image", png: "image", mp4: "video", avi: "video", mov: "video", mkv: "video", webm: "video", ts: "video",
});

/** @param {string} name @returns {"image"|"video"|null} what the file's name promises */
export function kindOf(name) {
  return KINDS[name.toLowerCase().split(".").pop() ?? ""] ?? null;
}

/**
 * @typedef {Object} Progress
 * @property {"uploading"|"analyzing"} phase
 * @property {number|null} share  0..1, null where unknown
 */

/**
 * Returns the verdict on a file. Throws ApiError if the service refuses it, DOMException AbortError after `signal`.
 * @param {File} file
 * @param {{onProgress: (progress: Progress) => void, signal: AbortSignal}} options
 * @returns {Promise<FileResult>}
 */
export async function analyze(file, options) {
  const path = kindOf(file.name) === "video" ? "predict?async=1" : "predict";
  const { status, body } = await upload(path, file, options);
  return status === 202 ? followJob(body, options) : body;
}

/**
 * Returns the heat map of a picture as a bitmap. Throws as `analyze`.
 * @param {File} file
 * @param {AbortSignal} signal
 * @returns {Promise<ImageBitmap>}
 */
export async function heatMap(file, signal) {
  const form = new FormData();
  form.append("file", file);
  const { gradcam_image: dataUri } = await requestJson("gradcam", { method: "POST", body: form, signal });
  const binary = atob(dataUri.slice(dataUri.indexOf(",") + 1));
  return createImageBitmap(new Blob([Uint8Array.from(binary, (char) => char.charCodeAt(0))], { type: "image/png" }));
}

/**
 * Uses XMLHttpRequest, because fetch() reports no upload progress.
 * @param {string} path
 * @param {File} file
 * @param {{onProgress: (progress: Progress) => void, signal: AbortSignal}} options
 * @returns {Promise<{status: number, body: any}>}
 */
function upload(path, file, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open("POST", urlOf(path));
    for (const [name, value] of Object.entries(authHeaders())) sender.setRequestHeader(name, value);
    sender.upload.onprogress = (event) => onProgress({ phase: "uploading", share: event.loaded / (event.total || 1) });
    sender.upload.onload = () => onProgress({ phase: "analyzing", share: null });
    sender.onerror = () => reject(new TypeError("network"));
    sender.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    sender.onload = () => {
      if (sender.status >= 400) reject(ApiError.from(sender.status, sender.responseText, sender.getResponseHeader("Retry-After")));
      else resolve({ status: sender.status, body: JSON.parse(sender.responseText) });
    };
    signal.addEventListener("abort", () => sender.abort());
    const form = new FormData();
    form.append("file", file);
    sender.send(form);
  });
}

/**
 * @param {import("./types.js").Job} started
 * @param {{onProgress: (progress: Progress) => void, signal: AbortSignal}} options
 * @returns {Promise<FileResult>}
 */
async function followJob(started, { onProgress, signal }) {
  const path = `v1/jobs/${encodeURIComponent(started.job_id)}`;
  const cancel = () => void request(path, { method: "DELETE" }).catch(() => undefined);
  signal.addEventListener("abort", cancel);
  try {
    let job = started;
    while (job.state === "queued" || job.state === "running") {
      onProgress({ phase: "analyzing", share: job.planned ? job.done / job.planned : null });
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      signal.throwIfAborted();
      job = await requestJson(path, { signal });
    }
    if (job.result) return job.result;
    throw new ApiError(job.error?.status ?? 500, job.error?.code ?? "job", job.error?.message ?? "The analysis failed.");
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
