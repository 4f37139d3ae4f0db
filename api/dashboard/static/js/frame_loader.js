/**
 * Loads the latest sampled frame of visible streams: one request per stream at a time, at most two a second per stream,
 * four requests in parallel. An early request is delayed, not queued twice.
 */

import { request } from "./http.js";

const INTERVAL_MS = 500;
const AT_ONCE = 4;

export class FrameLoader {
  #busy = 0;
  /** @type {Map<string, FrameFeed>} */
  #waiting = new Map();

  /** @param {FrameFeed} feed */
  ask(feed) {
    this.#waiting.set(feed.stream, feed);
    this.#next();
  }

  /** @param {FrameFeed} feed @returns {boolean} whether it was still queued */
  forget(feed) {
    return this.#waiting.get(feed.stream) === feed && this.#waiting.delete(feed.stream);
  }

  #next() {
    for (const [stream, feed] of this.#waiting) {
      if (this.#busy >= AT_ONCE) return;
      this.#waiting.delete(stream);
      this.#busy += 1;
      feed.fetch().finally(() => {
        this.#busy -= 1;
        this.#next();
      });
    }
  }
}

/** The frames of one stream. `onFrame` must close the bitmap that it gets. */
export class FrameFeed {
  #visible = false;
  #wanted = false;
  #running = false;
  #closed = false;
  #lastMs = -Infinity;
  #timer = 0;

  /** @param {FrameLoader} loader @param {string} stream @param {(frame: ImageBitmap) => void} onFrame */
  constructor(loader, stream, onFrame) {
    this.loader = loader;
    this.stream = stream;
    this.onFrame = onFrame;
  }

  /** Requests the next frame. */
  want() {
    this.#wanted = true;
    this.#schedule();
  }

  /** Stops requesting frames. */
  unwant() {
    this.#wanted = false;
    this.#clear();
  }

  /** @param {boolean} visible */
  setVisible(visible) {
    this.#visible = visible;
    this.#schedule();
  }

  close() {
    this.#closed = true;
    this.#clear();
  }

  #clear() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.loader.forget(this)) this.#running = false;
  }

  #schedule() {
    if (!this.#wanted || !this.#visible || this.#running || this.#closed || this.#timer || document.hidden) return;
    const waitMs = Math.max(0, this.#lastMs + INTERVAL_MS - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#running = true;
      this.loader.ask(this);
    }, waitMs);
  }

  /** Loads a frame; called by the loader. */
  async fetch() {
    this.#wanted = false;
    this.#lastMs = performance.now();
    try {
      const response = await request(`v1/streams/${encodeURIComponent(this.stream)}/frame.jpg`, { cache: "no-cache" });
      const bitmap = await createImageBitmap(await response.blob());
      if (this.#closed) bitmap.close();
      else this.onFrame(bitmap);
    } catch {
      // No frame yet, or the stream just ended: the card keeps its frame and the next verdict retries.
    } finally {
      this.#running = false;
      this.#schedule();
    }
  }
}
