/** The panel "Check my webcam": camera, preview and WHIP publication, with error texts. */

import { byId, setText } from "./dom.js";
import { ApiError, errorWords } from "./http.js";
import { endText } from "./format.js";
import { publish } from "./whip.js";

/** @typedef {"idle"|"asking"|"connecting"|"live"} Phase */

const CAMERA = { video: { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 30, max: 30 } }, audio: false };

const CAMERA_ERRORS = /** @type {Record<string, string>} */ ({
  NotAllowedError: "The browser has no permission for the camera. Allow it in the address bar and start again.",
  NotFoundError: "No camera was found on this computer.",
  NotReadableError: "The camera is in use by another program.",
  AbortError: "The camera could not be started.",
  SecurityError: "This page may not use the camera.",
});

/** @returns {string} a unique name */
function freshName() {
  const random = crypto.getRandomValues(new Uint8Array(4));
  return `webcam-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

export class WebcamPanel {
  stream = "";
  /** @type {MediaStream|null} */
  #media = null;
  /** @type {import("./whip.js").Publication|null} */
  #publication = null;
  /** Number of the latest start or stop; results of older starts are discarded. */
  #turn = 0;

  /** @param {{onStart: (stream: string) => void, onShow: (stream: string) => boolean, onRefused: () => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    byId("webcam-start").addEventListener("click", () => this.start());
    byId("webcam-stop").addEventListener("click", () => this.stop("Stopped."));
    byId("webcam-show").addEventListener("click", () => handlers.onShow(this.stream));
    addEventListener("pagehide", () => this.#publication && this.stop("Stopped."));
    this.#phase("idle", "");
  }

  async start() {
    const turn = ++this.#turn;
    this.#phase("asking", "Waiting for the camera…");
    try {
      const media = await this.#camera();
      if (turn !== this.#turn) return media.getTracks().forEach((track) => track.stop());
      this.#preview(media);
      this.stream = freshName();
      this.handlers.onStart(this.stream);
      this.#phase("connecting", "Connecting…");
      const publication = await publish(this.stream, media.getVideoTracks()[0], (state) => this.#moved(turn, state));
      if (turn !== this.#turn) return void publication.stop();
      this.#publication = publication;
    } catch (error) {
      if (turn === this.#turn) this.#failed(error);
    }
  }

  /** @param {string} words */
  async stop(words) {
    this.#turn += 1;
    const publication = this.#publication;
    this.#release();
    this.#phase("idle", words);
    byId("webcam-start").focus({ preventScroll: true });
    await publication?.stop();
  }

  /** The service ended the call. @param {{stream: string, reason: string, message: string}} event */
  ended(event) {
    if (event.stream !== this.stream || !this.#publication) return;
    this.#turn += 1;
    this.#release();
    this.#phase("idle", `The call ended: ${endText(event).toLowerCase()}.`);
  }

  /** @returns {Promise<MediaStream>} */
  async #camera() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers allow the camera only on https or on localhost.");
    }
    return navigator.mediaDevices.getUserMedia(CAMERA);
  }

  /** @param {MediaStream} media */
  #preview(media) {
    this.#media = media;
    byId("webcam-video").srcObject = media;
    media.getVideoTracks()[0].addEventListener("ended", () => this.stop("The camera was switched off."));
  }

  /** @param {number} turn @param {"connected"|"lost"} state */
  #moved(turn, state) {
    if (turn !== this.#turn) return;
    if (state === "connected") this.#phase("live", `Live as ${this.stream}. The verdict is on its card.`);
    else this.stop("The connection to the service was lost.");
  }

  /** @param {unknown} error */
  #failed(error) {
    this.#turn += 1;
    this.#release();
    const name = error instanceof DOMException ? error.name : "";
    this.#phase("idle", CAMERA_ERRORS[name] ?? errorWords(error), true);
    if (error instanceof ApiError && error.status === 401) this.handlers.onRefused();
  }

  #release() {
    this.#media?.getTracks().forEach((track) => track.stop());
    this.#media = null;
    this.#publication = null;
    byId("webcam-video").srcObject = null;
  }

  /** @param {Phase} phase @param {string} words @param {boolean} [bad] */
  #phase(phase, words, bad = false) {
    const idle = phase === "idle";
    const hadFocus = document.activeElement === byId("webcam-start");
    byId("webcam-stage").dataset.state = phase;
    byId("webcam-start").hidden = !idle;
    byId("webcam-stop").hidden = idle;
    byId("webcam-show").hidden = phase !== "live";
    byId("webcam-status").toggleAttribute("data-bad", bad);
    setText(byId("webcam-status"), words);
    if (hadFocus && !idle) byId("webcam-stop").focus({ preventScroll: true });
  }
}
