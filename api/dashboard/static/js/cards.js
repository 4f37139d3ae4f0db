/** One card of the wall: frame with face boxes, verdict in words, chart, facts. */

import { clock } from "./call_model.js";
import { Chart } from "./chart.js";
import { clone, setIcon, setText } from "./dom.js";
import { ageText, endText, labelOf, percent, plural, probability, rateText, reasonText, secondsText, sentence, sourceText, verdictWords } from "./format.js";
import { FrameFeed } from "./frame_loader.js";
import { alarmLevel, standing } from "./call_order.js";
import { callHref } from "./router.js";
import { HISTORY_S } from "./store.js";

/** @typedef {import("./store.js").StreamView} StreamView */

const STALE_MS = 5_000;
const MAX_STEP_S = 2.6;
const UNSEEN_MS = 1_000;      // update interval of invisible cards

export class Card {
  /** @type {StreamView} */
  view;
  visible = false;
  drawnMs = -Infinity;
  /** @type {StreamView|null} */
  #drawn = null;
  #many = false;
  /** @type {{low: number, high: number}|null} */
  #band = null;
  /** @type {Map<number, HTMLElement>} */
  #boxes = new Map();

  /**
   * @param {StreamView} view
   * @param {{loader: import("./frame_loader.js").FrameLoader, observer: IntersectionObserver, mine: boolean}} context
   */
  constructor(view, context) {
    const { root, parts } = clone("card-template");
    this.view = view;
    this.root = root;
    this.parts = parts;
    this.article = /** @type {HTMLElement} */ (root.querySelector("article"));
    this.chart = new Chart(parts.chart, { axis: "odds", left: `−${HISTORY_S} s`, right: "now" });
    this.frames = new FrameFeed(context.loader, view.id, (frame) => this.#showFrame(frame));
    this.observer = context.observer;
    parts.title.id = `card-${view.id}`;
    this.article.setAttribute("aria-labelledby", parts.title.id);
    this.article.dataset.stream = view.id;
    setText(parts.link, view.id);
    parts.link.title = view.id;
    parts.link.href = callHref(view.id);
    parts.mine.hidden = !context.mine;
    this.observer.observe(this.article);
  }

  /** @param {StreamView|undefined} view @param {number} nowMs @returns {boolean} whether it must be redrawn now */
  isDue(view, nowMs) {
    if (!view || view === this.#drawn) return false;
    if (this.visible || !this.#drawn || view.ended || view.verdict?.label !== this.#drawn.verdict?.label) return true;
    return nowMs - this.drawnMs >= UNSEEN_MS;
  }

  /** @param {StreamView} view @param {number} nowMs */
  update(view, nowMs) {
    const fresh = view.verdict !== this.#drawn?.verdict;
    this.view = this.#drawn = view;
    this.drawnMs = nowMs;
    this.parts.sample.hidden = !view.sample;
    setText(this.parts.source, this.#sourceWords());
    this.#showState();
    if (view.verdict) this.#showVerdict(view.verdict);
    this.parts.unreviewed.hidden = view.unreviewed.length === 0;
    setText(this.parts.unreviewed, unreviewedWords(view.unreviewed));
    if (view.ended) this.frames.unwant();
    else if (fresh && view.verdict) this.frames.want();
    this.#drawChart();
    this.tick(nowMs);
  }

  /** Updates what depends on the clock only. @param {number} nowMs */
  tick(nowMs) {
    const { verdict, verdictAtMs, ended } = this.view;
    const silentMs = verdict ? nowMs - verdictAtMs : 0;
    const stale = !ended && silentMs > STALE_MS;
    this.article.toggleAttribute("data-stale", stale);
    setText(this.parts["age-name"], stale ? "Last verdict" : "Verdict age");
    if (verdict) setText(this.parts.age, stale ? `${secondsText(silentMs / 1000)} ago` : ageText(verdict.age_ms));
  }

  /** @param {{low: number, high: number}|null} band */
  setBand(band) {
    this.#band = band;
    this.chart.setBand(band);
  }

  /** @param {boolean} visible */
  setVisible(visible) {
    this.visible = visible;
    this.frames.setVisible(visible);
  }

  /**
   * Sets the position among the shown participants of the call.
   * @param {import("./call_order.js").Group} group
   * @param {number} place  from 0
   * @param {number} shown  how many of the call are shown
   */
  setGroup(group, place, shown) {
    const many = group.members.length > 1;
    this.#many = many;
    this.root.dataset.group = !many ? "none" : shown === 1 ? "only" : place === 0 ? "first" : place === shown - 1 ? "last" : "inner";
    setText(this.parts.call, many ? `Call ${group.callId}` : "");
    setText(this.parts.members, many && place === 0 ? membersText(group) : "");
  }

  dispose() {
    this.frames.close();
    this.observer.unobserve(this.article);
    this.root.remove();
  }

  /** @returns {string} */
  #sourceWords() {
    const { source, callId, participantId } = this.view;
    return [sourceText(source), participantId, !this.#many && callId && `call ${callId}`].filter(Boolean).join(" · ");
  }

  #showState() {
    const { ended } = this.view;
    this.parts.state.dataset.kind = ended ? "ended" : "live";
    setText(this.parts.state, ended ? "Ended" : "Live");
    this.article.toggleAttribute("data-ended", Boolean(ended));
    if (ended) this.#note(endText(ended));
    else if (this.view.stalled) this.#note("No video from the source");
    else this.#note(this.article.hasAttribute("data-framed") ? "" : "Waiting for the first frame");
  }

  /** @param {import("./types.js").Verdict} verdict */
  #showVerdict(verdict) {
    const { icon } = labelOf(verdict.label);
    this.article.dataset.label = verdict.label;
    this.parts.verdict.dataset.label = verdict.label;
    setIcon(this.parts.icon, icon);
    setText(this.parts.label, verdictWords(verdict));
    setText(this.parts.reason, watchedWords(verdict));
    setText(this.parts.prob, probability(verdict.prob_fake));
    setText(this.parts["number-name"], verdict.decision ? "alarm level" : "prob. fake");
    setText(this.parts.number, verdict.decision ? percent(alarmLevel(verdict)) : probability(verdict.prob_fake));
    setText(this.parts.coverage, percent(verdict.coverage));
    this.parts["coverage-bar"].style.width = `${Math.round(verdict.coverage * 100)}%`;
    setText(this.parts.rate, rateText(verdict.rate_hz));
    setText(this.parts.faces, String(verdict.faces.length));
    this.#showDrops(verdict.frames.dropped);
    this.parts.frame.setAttribute("aria-label", facesWords(verdict.faces));
    this.#showBoxes(verdict.faces);
  }

  /** @param {Record<string, number>} dropped counts by cause */
  #showDrops(dropped) {
    const causes = Object.entries(dropped).filter(([, count]) => count > 0);
    setText(this.parts.dropped, String(causes.reduce((sum, [, count]) => sum + count, 0)));
    this.parts.dropped.title = causes.map(([cause, count]) => `${sentence(cause.replaceAll("_", " "))}: ${count}`).join(", ");
  }

  /** @param {import("./types.js").FaceVerdict[]} faces */
  #showBoxes(faces) {
    const seen = new Set(faces.map((face) => face.track));
    for (const [track, box] of this.#boxes) {
      if (seen.has(track)) continue;
      box.remove();
      this.#boxes.delete(track);
    }
    for (const face of faces) {
      const box = this.#boxes.get(face.track) ?? this.#addBox(face.track);
      const [x, y, width, height] = face.box.map((share) => (share * 100).toFixed(2));
      Object.assign(box.style, { translate: `${x}cqw ${y}cqh`, width: `${width}%`, height: `${height}%` });
      box.dataset.label = face.label;
      box.toggleAttribute("data-low", face.box[1] < 0.12);
      setText(/** @type {Element} */ (box.firstElementChild), faceTag(face));
    }
  }

  /** @param {number} track @returns {HTMLElement} */
  #addBox(track) {
    const box = document.createElement("div");
    box.className = "face";
    box.dataset.track = String(track);
    box.appendChild(document.createElement("span"));
    this.parts.boxes.append(box);
    this.#boxes.set(track, box);
    return box;
  }

  #drawChart() {
    const to = Math.max(this.view.verdict?.end_s ?? 0, this.view.history.at(-1)?.x ?? 0);
    const decides = Boolean(this.view.verdict?.decision);
    this.chart.setBand(decides ? null : this.#band);
    this.chart.setLimits(decides);
    this.chart.draw(this.view.history, { from: to - HISTORY_S, to, maxStep: MAX_STEP_S });
  }

  /** @param {ImageBitmap} frame */
  #showFrame(frame) {
    const canvas = this.parts.frame;
    if (canvas.width !== frame.width || canvas.height !== frame.height) {
      canvas.width = frame.width;
      canvas.height = frame.height;
      this.parts.stage.style.aspectRatio = `${frame.width} / ${frame.height}`;
      this.parts.stage.toggleAttribute("data-tall", frame.width / frame.height < 16 / 9);
    }
    canvas.getContext("2d").drawImage(frame, 0, 0);
    frame.close();
    this.article.toggleAttribute("data-framed", true);
    if (!this.view.ended && !this.view.stalled) this.#note("");
  }

  /** @param {string} text */
  #note(text) {
    setText(this.parts.note, text);
    this.parts.note.hidden = !text;
  }
}

/** @param {import("./call_order.js").Group} group @returns {string} the number of participants and the most suspicious label */
function membersText({ members }) {
  const worst = standing(members[0]);
  const alike = members.filter((view) => standing(view) === worst).length;
  return `${plural(members.length, "participant")}, ${alike} ${labelOf(worst).words.toLowerCase()}`;
}

/**
 * Returns the reason; for a call without suspicion how long and how well it was watched.
 * @param {import("./types.js").Verdict} verdict
 * @returns {string}
 */
export function watchedWords(verdict) {
  if (verdict.reason !== "monitoring") return reasonText(verdict.reason);
  return `Watched for ${clock(verdict.end_s)}, ${percent(verdict.coverage)} of the pictures analyzed`;
}

/**
 * Returns the line on alarms without a review, or "".
 * @param {readonly import("./store.js").OpenAlarm[]} alarms
 * @returns {string}
 */
export function unreviewedWords(alarms) {
  if (!alarms.length) return "";
  return `${plural(alarms.length, "alarm")} at ${alarms.map((alarm) => clock(alarm.pts_s)).join(", ")}, not reviewed`;
}

/** @param {import("./types.js").FaceVerdict} face @returns {string} */
function faceTag(face) {
  return face.prob_fake === null ? labelOf(face.label).words : `${probability(face.prob_fake)} fake`;
}

/** @param {import("./types.js").FaceVerdict[]} faces @returns {string} */
function facesWords(faces) {
  const each = faces.map((face) => `${labelOf(face.label).words.toLowerCase()}, ${faceTag(face)}`);
  return [`Latest sampled frame: ${plural(faces.length, "face")}`, ...each].join("; ");
}
