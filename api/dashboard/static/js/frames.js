/**
 * Fetches the latest sampled frame of streams that are on screen: at most one request per stream at a time, at most
 * two a second per stream, at most four at once. A wish that comes too early is kept, not queued twice.
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

  /** @param {FrameFeed} feed @returns {boolean} whether it was still waiting for its turn */
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

/** The frames of one stream. `onFrame` gets a bitmap that it must close. */
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

  /** There is something newer than the last frame. */
  want() {
    this.#wanted = true;
    this.#schedule();
  }

  /** There will be nothing newer. */
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

  /** Called by the loader when it is this stream's turn. */
  async fetch() {
    this.#wanted = false;
    this.#lastMs = performance.now();
    try {
      const response = await request(`v1/streams/${encodeURIComponent(this.stream)}/frame.jpg`, { cache: "no-cache" });
      const bitmap = await createImageBitmap(await response.blob());
      if (this.#closed) bitmap.close();
      else this.onFrame(bitmap);
    } catch {
      // No frame yet, or the stream is just over: the card keeps what it shows and the next verdict asks again.
    } finally {
      this.#running = false;
      this.#schedule();
    }
  }
}
