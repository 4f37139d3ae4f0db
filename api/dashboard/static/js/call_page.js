/** The page of one call: loads its history from the service and follows live events. */

import { loadCall } from "./call_data.js";
import { bucketAt, clock, followed, frameAt, restOf, spectrumWords, statement, stepped, troubleOf } from "./call_model.js";
import { CallScreen } from "./call_frame.js";
import { byId, setIcon, setText } from "./dom.js";
import { alarmLevel } from "./call_order.js";
import { watchedWords } from "./cards.js";
import { endText, labelOf, percent, plural, probability, sentence, sourceText, verdictWords } from "./format.js";
import { ApiError, errorWords, requestJson } from "./http.js";
import { alarmItem } from "./alarm_list.js";
import { Lanes } from "./timeline_chart.js";
import { callHref } from "./router.js";
import { SpectrumChart } from "./spectrum.js";

/** @typedef {import("./call_model.js").Timeline} Timeline */
/** @typedef {import("./call_model.js").EvidenceFrame} EvidenceFrame */

const RELOAD_MS = 60_000;       // what follows live is as fine as it comes; the service makes it coarser with age
const SOON_MS = 1_500;          // after an alarm, which brings new evidence
const SUSPICIOUS_MS = 5_000;    // while there may be new evidence
const RETRY_MS = 3_000;
const FAR_S = 3;                // an evidence frame further away than this is not of this moment
const NO_FRAME = "No stored frames: only suspicious frames are stored.";

export class CallPage {
  #stream = "";
  /** @type {number|null} */
  #epoch = null;
  /** Number of the latest request; answers to older requests are discarded. */
  #turn = 0;
  /** @type {Timeline|null} */
  #timeline = null;
  /** @type {EvidenceFrame[]} */
  #frames = [];
  /** @type {number|null} cursor position in media time; null follows the live call */
  #at = null;
  /** @type {any} */
  #policy = null;
  /** @type {any} */
  #real = null;
  #timer = 0;
  #dueMs = 0;
  #drawing = false;

  /** @param {{onLook: (incident: string) => void, onKey: () => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.screen = new CallScreen(() => this.#soon(SOON_MS));
    this.lanes = new Lanes(byId("call-lanes"), { onSeek: (atS) => this.#seek(atS), onKey: (key) => this.#key(key) });
    this.chart = new SpectrumChart(byId("call-spectrum"));
    byId("call-previous").addEventListener("click", () => this.#key("PageUp"));
    byId("call-next").addEventListener("click", () => this.#key("PageDown"));
    byId("call-now").addEventListener("click", () => this.#seek(null));
    byId("call-key").addEventListener("click", () => handlers.onKey());
    byId("call-epoch").addEventListener("change", () => { location.hash = callHref(this.#stream, Number(byId("call-epoch").value)); });
  }

  /** Shows the call of the current URL, or hides for the wall. @param {import("./router.js").Route} route */
  show(route) {
    const isCall = route.page === "call";
    byId("call").hidden = !isCall;
    byId("home").hidden = route.page !== "wall";
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.screen.follow(isCall ? route.stream : null);
    this.#stream = isCall ? route.stream : "";
    this.#timeline = null;
    this.#frames = [];
    this.#at = null;
    if (!isCall) return;
    this.#epoch = route.epoch;
    setText(byId("call-title"), route.stream);
    setText(byId("call-source"), "");
    byId("call-others").hidden = true;
    byId("call-alarm-list").replaceChildren();
    setText(byId("call-alarm-status"), "");
    this.#state("connecting");
    this.#load();
    scrollTo(0, 0);
    byId("call").focus({ preventScroll: true });
  }

  /**
   * Updates the connection state. After a reconnect, the timeline is loaded again.
   * @param {"connecting"|"live"|"reconnecting"|"refused"} state
   */
  connection(state) {
    byId("call").toggleAttribute("data-stale", state !== "live");
    if (state === "live") this.reload();
    if (this.#stream && state === "refused") this.#state("refused");
  }

  /** Reloads after a change that is not in the event feed. */
  reload() {
    if (this.#stream) this.#load();
  }

  /** @param {any} event of any stream */
  event(event) {
    if (event.stream !== this.#stream) return;
    if (event.type === "stream.started" && this.#epoch === null && event.epoch !== this.#timeline?.epoch) return this.#soon(0);
    if (!this.#timeline) return;
    const before = this.#timeline;
    this.#timeline = followed(before, event);
    if (this.#timeline === before) return;
    if (event.type === "verdict") this.screen.want();
    if (event.type.startsWith("incident.")) this.#soon(SOON_MS);
    if (event.type === "verdict" && event.prob_fake > 0.5) this.#soon(SUSPICIOUS_MS);
    this.#draw();
  }

  /** Shows the other participants of the call. @param {ReadonlyMap<string, import("./store.js").StreamView>} streams */
  others(streams) {
    const call = this.#timeline?.call_id;
    const found = call ? [...streams.values()].filter((view) => view.callId === call && view.id !== this.#stream) : [];
    const links = byId("call-others");
    links.hidden = !found.length;
    if (links.dataset.shown === found.map((view) => view.id).join("\n")) return;
    links.dataset.shown = found.map((view) => view.id).join("\n");
    links.replaceChildren("Also in this call: ", ...found.map((view) => {
      const link = document.createElement("a");
      link.href = callHref(view.id);
      link.textContent = view.participantId || view.id;
      return link;
    }));
  }

  /** Schedules a reload; an earlier schedule wins. @param {number} ms */
  #soon(ms) {
    const dueMs = performance.now() + ms;
    if (this.#timer && this.#dueMs <= dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.#load(), ms);
  }

  async #load() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const turn = ++this.#turn;
    try {
      const data = await loadCall(this.#stream, this.#epoch);
      this.#policy ??= await requestJson("v1/policy").catch(() => null);
      this.#real ??= await requestJson("v1/spectrum").catch(() => null);
      if (turn === this.#turn) this.#loaded(data);
    } catch (error) {
      if (turn === this.#turn) this.#failed(error);
    }
  }

  /** @param {import("./call_data.js").CallData} data */
  #loaded({ timeline, frames, incidents, problem }) {
    this.#timeline = timeline;
    this.#frames = frames;
    this.#state(timeline?.state ?? "unknown");
    const words = incidents.length ? `${plural(incidents.length, "alarm")}.` : "None so far.";
    setText(byId("call-alarm-status"), problem ? `Alarms cannot be loaded. ${problem}` : words);
    byId("call-alarm-list").replaceChildren(...incidents.map((incident) => alarmItem(incident, this.handlers.onLook)));
    if (timeline?.state === "live") this.screen.want();
    this.#draw();
    if (timeline) this.#soon(RELOAD_MS);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (error instanceof ApiError && error.status === 401) return void this.#state("refused");
    this.#trouble(errorWords(error), "");
    this.#soon(RETRY_MS);
  }

  /** @param {string} key @returns {boolean} whether it does something here */
  #key(key) {
    if (!this.#timeline) return false;
    const at = this.#at ?? this.#timeline.buckets.at(-1)?.end_s ?? 0;
    const next = stepped(key, this.#at === null ? at + 1e-3 : at, this.#timeline, this.#frames);
    if (next === undefined) return key.startsWith("Page");
    this.#seek(next);
    return true;
  }

  /** @param {number|null} atS */
  #seek(atS) {
    this.#at = atS;
    this.#draw();
  }

  /** Draws once at the next animation frame. */
  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.#timeline) this.#drawNow(this.#timeline);
    });
  }

  /** @param {Timeline} timeline */
  #drawNow(timeline) {
    this.lanes.draw(timeline, this.#frames, this.#at);
    this.#drawHead(timeline);
    this.#drawVerdict(timeline);
    this.#drawScreen(timeline);
    this.#drawSteps();
    this.#trouble(troubleOf(timeline), restOf(timeline));
    setText(byId("call-statement"), statement(this.#policy, timeline));
  }

  /** Fills the status line, which is always present to keep the layout stable. @param {string} trouble @param {string} rest shown if there is no trouble */
  #trouble(trouble, rest) {
    setText(byId("call-trouble"), trouble || rest);
    byId("call-trouble").title = trouble || rest;
    byId("call-trouble").toggleAttribute("data-bad", Boolean(trouble));
  }

  /** @param {Timeline} timeline */
  #drawHead(timeline) {
    const { source, call_id: call, participant_id: who, started_s: started } = timeline;
    setText(byId("call-title"), who || timeline.stream);
    const since = `since ${new Date(started * 1000).toLocaleString()}`;
    setText(byId("call-source"), [who && timeline.stream, sourceText(source), call && `call ${call}`, since].filter(Boolean).join(" · "));
    this.#state(timeline.state);
    if (timeline.ended) setText(byId("call-state"), `Ended: ${endText(timeline.ended).toLowerCase()}`);
    const select = byId("call-epoch");
    byId("call-epoch-field").hidden = timeline.epochs.length < 2;
    select.replaceChildren(...timeline.epochs.map((epoch) => new Option(new Date(epoch * 1000).toLocaleTimeString(), String(epoch), false, epoch === timeline.epoch)));
  }

  /** Draws the current verdict, or the bucket under the cursor. @param {Timeline} timeline */
  #drawVerdict(timeline) {
    const past = this.#at === null ? null : bucketAt(timeline.buckets, this.#at);
    const label = past?.label ?? timeline.verdict?.label ?? "WAITING";
    const { words, icon } = labelOf(label);
    byId("call-verdict").dataset.label = label;
    setIcon(byId("call-icon"), icon);
    const verdict = past ? null : timeline.verdict;
    const level = past ? past.suspicion : verdict ? alarmLevel(verdict) : null;
    setText(byId("call-label"), verdict ? verdictWords(verdict) : label === "WAITING" ? "Waiting" : words);
    setText(byId("call-number-name"), level === null ? "prob. fake" : "alarm level");
    setText(byId("call-prob"), level === null ? probability(past ? past.prob_fake?.[1] : verdict?.prob_fake) : percent(Math.min(1, level)));
    setText(byId("call-reason"), past ? `As it was at ${clock(past.end_s)}` : verdict ? watchedWords(verdict) : "No verdict yet");
    setText(byId("call-verdict-title"), past ? `Verdict at ${clock(past.end_s)}` : timeline.state === "kept" ? "Verdict of the alarm" : timeline.state === "ended" ? "Last verdict" : "Verdict now");
    setText(byId("call-at"), past ? `Shown: ${clock(past.end_s)}` : timeline.state !== "live" ? "" : "Following the call");
  }

  /** Draws the latest frame while following, otherwise the closest evidence frame. @param {Timeline} timeline */
  #drawScreen(timeline) {
    const following = this.#at === null && timeline.state === "live";
    const frame = following ? null : this.#at === null ? this.#frames.at(-1) : frameAt(this.#frames, this.#at);
    if (following) {
      this.screen.showLive(timeline.verdict?.faces ?? [], "Waiting for the first frame");
      this.#drawFaces(timeline.verdict?.faces ?? [], "Alarm level");
    } else if (frame) {
      const far = this.#at !== null && Math.abs(frame.pts_s - this.#at) > FAR_S;
      this.screen.showEvidence(frame, far ? `Closest stored frame to ${clock(this.#at ?? 0)}` : "");
      this.#drawFaces(frame.faces, "Evidence");
    } else {
      this.screen.showNothing(NO_FRAME);
      this.#drawFaces([], "Alarm level");
    }
    this.#drawSpectrum(frame ?? this.#frames.at(-1));
  }

  /** Draws the spectrum of the most suspicious face that is large enough. @param {EvidenceFrame|undefined} frame */
  #drawSpectrum(frame) {
    const faces = (frame?.faces ?? []).filter((face) => face.spectrum.length).sort((a, b) => (b.llr ?? 0) - (a.llr ?? 0));
    const spectrum = faces[0]?.spectrum ?? [];
    this.chart.draw(spectrum, this.#real);
    setText(byId("call-spectrum-words"), spectrumWords(spectrum, this.#real));
  }

  /** @param {any[]} faces @param {string} last title of the last column */
  #drawFaces(faces, last) {
    setText(byId("call-last-column"), last);
    const rows = faces.map((face) => {
      const row = document.createElement("tr");
      const weight = face.suspicion === undefined ? evidenceText(face.llr) : percent(face.suspicion);
      const cells = [String(face.track), probability(face.prob_fake), percent(face.frequency_score), weight];
      row.append(...cells.map((text, index) => Object.assign(document.createElement(index ? "td" : "th"), { textContent: text })));
      row.firstElementChild?.setAttribute("scope", "row");
      return row;
    });
    byId("call-face-rows").replaceChildren(...rows);
    byId("call-faces").toggleAttribute("data-empty", rows.length === 0);
  }

  #drawSteps() {
    const at = this.#at ?? Infinity;
    byId("call-previous").disabled = !this.#frames.some((frame) => frame.pts_s < at - 1e-6);
    byId("call-next").disabled = !this.#frames.some((frame) => frame.pts_s > at + 1e-6);
    byId("call-now").disabled = this.#at === null;
    const place = this.#at === null ? -1 : this.#frames.findIndex((frame) => Math.abs(frame.pts_s - at) < 1e-6);
    const count = plural(this.#frames.length, "evidence frame");
    setText(byId("call-count"), this.#frames.length ? (place < 0 ? count : `${place + 1} of ${count}`) : "No evidence frames");
  }

  /** @param {"connecting"|"live"|"ended"|"kept"|"unknown"|"refused"} state */
  #state(state) {
    byId("call").dataset.state = state;
    byId("call-body").hidden = state === "unknown" || state === "refused";
    byId("call-unknown").hidden = state !== "unknown";
    byId("call-locked").hidden = state !== "refused";
    byId("call-alarms").hidden = state === "refused";
    byId("call-state").dataset.kind = state === "live" ? "live" : "ended";
    const words = /** @type {Record<string, string>} */ ({ refused: "locked", kept: "over" });
    setText(byId("call-state"), sentence(words[state] ?? state));
  }
}

/** Formats a log-likelihood ratio; positive values suggest a fake. @param {number|null} llr @returns {string} */
function evidenceText(llr) {
  return llr === null ? "–" : `${llr > 0 ? "+" : ""}${llr.toFixed(1)}`;
}
