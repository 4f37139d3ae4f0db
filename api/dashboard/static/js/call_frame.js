/** The frame view of a call page: the latest frame or an evidence frame, with face boxes and heat maps. */

import { byId, setText } from "./dom.js";
import { labelOf, plural, probability } from "./format.js";
import { FrameFeed, FrameLoader } from "./frame_loader.js";
import { drawHeat } from "./heat_maps.js";
import { clock } from "./call_model.js";
import { urlOf } from "./http.js";

/** @typedef {import("./call_model.js").EvidenceFrame} EvidenceFrame */

export class CallScreen {
  /** @type {FrameFeed|null} */
  #feed = null;
  /** @type {EvidenceFrame|null} */
  #shown = null;
  #hasLive = false;

  /** @param {() => void} onStale  called when a signed picture URL has expired */
  constructor(onStale) {
    this.stage = byId("call-stage");
    this.picture = byId("call-picture");
    this.live = byId("call-live");
    this.heat = byId("call-heat");
    this.loader = new FrameLoader();
    for (const id of ["call-heat-on", "call-heat-opacity"]) byId(id).addEventListener("input", () => this.#showHeat());
    this.picture.addEventListener("load", () => this.#painted(this.picture.naturalWidth, this.picture.naturalHeight));
    this.picture.addEventListener("error", () => this.#shown && onStale());
    document.addEventListener("visibilitychange", () => this.#feed?.setVisible(!document.hidden));
  }

  /** Switches to another call, or none. @param {string|null} stream */
  follow(stream) {
    this.#feed?.close();
    this.#hasLive = false;
    this.#shown = null;
    this.#feed = stream === null ? null : new FrameFeed(this.loader, stream, (frame) => this.#showBitmap(frame));
    this.#feed?.setVisible(true);
    this.picture.removeAttribute("src");
    this.live.getContext("2d").clearRect(0, 0, this.live.width, this.live.height);
    byId("call-boxes").replaceChildren();
  }

  /** Requests the next frame. */
  want() {
    this.#feed?.want();
  }

  /** Shows the latest frame with these faces. @param {import("./types.js").FaceVerdict[]} faces @param {string} note */
  showLive(faces, note) {
    this.#shown = null;
    this.picture.hidden = true;
    this.live.hidden = false;
    setText(byId("call-frame-title"), "Latest frame");
    this.#note(this.#hasLive ? "" : note);
    this.#boxes(this.#hasLive ? faces : []);
    this.live.setAttribute("aria-label", `Latest sampled frame: ${plural(faces.length, "face")}`);
    this.#showHeat();
  }

  /** @param {EvidenceFrame} frame @param {string} note */
  showEvidence(frame, note) {
    const worst = Math.max(...frame.faces.map((face) => face.prob_fake ?? 0));
    if (this.#shown?.url !== frame.url) this.picture.src = urlOf(frame.url.slice(1));
    this.#shown = frame;
    this.picture.hidden = false;
    this.live.hidden = true;
    this.picture.alt = `Evidence frame at ${clock(frame.pts_s)}: ${plural(frame.faces.length, "suspicious face")}, ${probability(worst)} fake`;
    setText(byId("call-frame-title"), `Evidence frame at ${clock(frame.pts_s)}`);
    this.#note(note);
    this.#boxes(frame.faces.map((face) => ({ ...face, label: "FAKE" })));
    this.#showHeat();
  }

  /** Shows no frame. @param {string} note */
  showNothing(note) {
    this.showLive([], note);
    this.live.hidden = !this.#hasLive;
    this.#note(note);
  }

  /** @param {ImageBitmap} frame */
  #showBitmap(frame) {
    this.live.width = frame.width;
    this.live.height = frame.height;
    this.live.getContext("2d").drawImage(frame, 0, 0);
    this.#hasLive = true;
    if (!this.#shown) {
      this.#painted(frame.width, frame.height);
      this.#note("");
    }
    frame.close();
  }

  /** @param {number} width @param {number} height */
  #painted(width, height) {
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.stage.toggleAttribute("data-tall", width / height < 16 / 9);
    this.heat.width = width;
    this.heat.height = height;
    this.#showHeat();
  }

  #showHeat() {
    const on = byId("call-heat-on").checked;
    const maps = this.#shown?.faces.filter((face) => face.heat_map.length) ?? [];
    byId("call-heat-on").disabled = maps.length === 0;
    byId("call-heat-opacity").disabled = maps.length === 0 || !on;
    this.heat.style.opacity = String(on ? byId("call-heat-opacity").value / 100 : 0);
    drawHeat(this.heat, maps);
  }

  /** @param {{track: number, box: number[], label: string, prob_fake: number|null}[]} faces */
  #boxes(faces) {
    byId("call-boxes").replaceChildren(...faces.map((face) => {
      const box = document.createElement("div");
      const [left, top, width, height] = face.box.map((share) => `${(share * 100).toFixed(2)}%`);
      box.className = "face";
      box.dataset.label = face.label;
      box.toggleAttribute("data-low", face.box[1] < 0.12);
      Object.assign(box.style, { left, top, width, height });
      box.appendChild(document.createElement("span")).textContent = faceWords(face);
      return box;
    }));
  }

  /** @param {string} text */
  #note(text) {
    setText(byId("call-note"), text);
    byId("call-note").hidden = !text;
  }
}

/** @param {{track: number, label: string, prob_fake: number|null}} face @returns {string} */
function faceWords(face) {
  const words = face.prob_fake === null ? labelOf(face.label).words : `${probability(face.prob_fake)} fake`;
  return `${face.track} · ${words}`;
}
