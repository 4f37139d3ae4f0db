/** Timeline of a call: charts on one axis of media time, with a slider over them. */

import { AXES } from "./chart.js";
import { setText } from "./dom.js";
import { labelOf, percent, plural, probability, ageText } from "./format.js";
import { bucketAt, bucketWords, clock, extentOf, markWords, silences, stretches } from "./call_model.js";

/** @typedef {import("./call_model.js").Bucket} Bucket */
/** @typedef {import("./call_model.js").Timeline} Timeline */
/** @typedef {import("./call_model.js").EvidenceFrame} EvidenceFrame */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 100;
const EDGE = 3;             // so that a line at the top or at the bottom is drawn whole
const CEILING = 1.5;        // the highest alarm level that the decision keeps
const CLOSES = 0.25;        // the level at which an open alarm is over
const LABEL_HEIGHTS = /** @type {Record<string, number>} */ ({ FAKE: 100, UNCERTAIN: 62, REAL: 36, NO_FACE: 14 });

/**
 * @typedef {Object} Lane
 * @property {string} name
 * @property {string} kind                           class of its line
 * @property {(bucket: Bucket) => [number, number, number]|null} spread  lowest, mean, highest as shares of the chart height
 * @property {(bucket: Bucket) => string} words      text of the value at the cursor
 * @property {number[]} [rules]                      shares of the height at which a bound is drawn
 * @property {string} [scale]                        what top and bottom mean
 */

/** @param {number} most largest age in ms @returns {Lane[]} */
function lanesOf(most) {
  const odds = AXES.odds.place;
  return [
    { name: "Prob. of a fake", kind: "prob", scale: "odds, 0.1 to 99.9 %", rules: [0.5],
      spread: (b) => b.prob_fake && [odds(b.prob_fake[0]), odds(b.prob_fake[1]), odds(b.prob_fake[2])],
      words: (b) => probability(b.prob_fake?.[1]) },
    { name: "Alarm level", kind: "level", scale: "alarm 100 %, over 25 %", rules: [1 / CEILING, CLOSES / CEILING],
      spread: (b) => (b.suspicion === null ? null : flat(Math.min(1, b.suspicion / CEILING))), words: (b) => percent(b.suspicion) },
    { name: "Coverage", kind: "coverage", scale: "0 to 100 %",
      spread: (b) => b.coverage && [b.coverage[0], b.coverage[1], b.coverage[2]], words: (b) => percent(b.coverage?.[1]) },
    { name: "Verdict age", kind: "age", scale: `0 to ${ageText(most)}`,
      spread: (b) => b.age_ms && [b.age_ms[0] / most, b.age_ms[1] / most, b.age_ms[2] / most],
      words: (b) => (b.age_ms ? ageText(b.age_ms[1]) : "–") },
    { name: "Face quality", kind: "quality", scale: "0 to 100 %",
      spread: (b) => b.quality && [b.quality[0], b.quality[1], b.quality[2]], words: (b) => percent(b.quality?.[1]) },
  ];
}

/** @param {number} share @returns {[number, number, number]} */
function flat(share) {
  return [share, share, share];
}

/** The charts. `onSeek` gets a media time, or null to follow the live call. */
export class Lanes {
  /** @type {Timeline|null} */
  #timeline = null;
  /** @type {{root: HTMLElement, value: HTMLElement, scale: HTMLElement, area: SVGElement, line: SVGElement, fake: SVGElement, rules: SVGElement}[]} */
  #rows = [];
  #extentS = 60;

  /** @param {HTMLElement} host @param {{onSeek: (atS: number|null) => void, onKey: (key: string) => boolean}} handlers */
  constructor(host, handlers) {
    this.handlers = handlers;
    this.marks = row(host, "Marks", "lane marks");
    this.labels = row(host, "Verdict", "lane labels");
    this.#rows = lanesOf(1000).map((lane) => this.#addLane(host, lane));
    this.drops = row(host, "Drops", "lane drops");
    this.axis = host.appendChild(element("div", "lane-axis"));
    this.axis.setAttribute("aria-hidden", "true");
    this.slider = host.appendChild(element("div", "lane-slider"));
    this.cursor = this.slider.appendChild(element("i", "lane-cursor"));
    this.#makeSlider();
  }

  /** @param {HTMLElement} host @param {Lane} lane */
  #addLane(host, lane) {
    const { root, value, scale, svg } = row(host, lane.name, `lane ${lane.kind}`);
    const [rules, area, line, fake] = ["lane-rule", "lane-area", "lane-line", "lane-line fake"].map((name) => drawn(svg, "path", name));
    rules.setAttribute("d", (lane.rules ?? []).map((share) => `M0 ${y(share)}H${WIDTH}`).join(""));
    return { root, value, scale, area, line, fake, rules };
  }

  /** @param {Timeline} timeline @param {readonly EvidenceFrame[]} frames @param {number|null} atS */
  draw(timeline, frames, atS) {
    this.#timeline = timeline;
    this.#extentS = extentOf(timeline);
    const most = Math.max(1000, ...timeline.buckets.map((bucket) => bucket.age_ms?.[2] ?? 0));
    lanesOf(most).forEach((lane, index) => this.#drawLane(lane, index));
    this.#drawLabels(timeline.buckets);
    this.#drawDrops(timeline.buckets);
    this.#drawMarks(timeline, frames);
    this.axis.replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((share) => {
      const tick = element("span", "");
      tick.textContent = clock(share * this.#extentS);
      return tick;
    }));
    this.point(atS);
  }

  /** Moves the cursor; null moves it to the end. @param {number|null} atS */
  point(atS) {
    const timeline = this.#timeline;
    if (!timeline) return;
    const at = atS ?? timeline.buckets.at(-1)?.end_s ?? 0;
    const bucket = bucketAt(timeline.buckets, at);
    this.cursor.style.left = `${Math.min(100, (at / this.#extentS) * 100)}%`;
    this.cursor.toggleAttribute("data-now", atS === null);
    this.slider.setAttribute("aria-valuemax", String(Math.round(this.#extentS)));
    this.slider.setAttribute("aria-valuenow", String(Math.round(at)));
    this.slider.setAttribute("aria-valuetext", bucket ? bucketWords(bucket) : "No verdict yet");
    lanesOf(1000).forEach((lane, index) => setText(this.#rows[index].value, bucket ? lane.words(bucket) : "–"));
    setText(this.labels.value, bucket ? labelOf(bucket.label).words : "–");
    setText(this.drops.value, bucket ? String(sumOf(bucket.dropped)) : "–");
  }

  /** @param {Lane} lane @param {number} index */
  #drawLane(lane, index) {
    const { area, line, fake, scale } = this.#rows[index];
    const runs = stretches(this.#timeline?.buckets ?? [], (bucket) => lane.spread(bucket) !== null);
    setText(scale, lane.scale ?? "");
    line.setAttribute("d", runs.map((run) => this.#path(run, lane, 1)).join(""));
    area.setAttribute("d", runs.map((run) => this.#band(run, lane)).join(""));
    const alarmed = runs.flatMap((run) => stretches(run.map((b, n) => ({ ...b, label: b.alarm || run[n + 1]?.alarm ? "FAKE" : "" })), (b) => b.label === "FAKE"));
    fake.setAttribute("d", lane.kind === "prob" || lane.kind === "level" ? alarmed.map((run) => this.#path(run, lane, 1)).join("") : "");
  }

  /** @param {Bucket[]} run @param {Lane} lane @param {0|1|2} which @returns {string} */
  #path(run, lane, which) {
    const steps = run.map((bucket) => `${this.#x(bucket.end_s)} ${y((lane.spread(bucket) ?? flat(0))[which])}`);
    return steps.length === 1 ? `M${steps[0]}h0.1` : `M${steps.join("L")}`;
  }

  /** @param {Bucket[]} run @param {Lane} lane @returns {string} between lowest and highest */
  #band(run, lane) {
    const upper = this.#path(run, lane, 2);
    const lower = [...run].reverse().map((bucket) => `L${this.#x(bucket.end_s)} ${y((lane.spread(bucket) ?? flat(0))[0])}`).join("");
    return `${upper}${lower}Z`;
  }

  /** @param {readonly Bucket[]} buckets */
  #drawLabels(buckets) {
    const bars = stretches(buckets).flatMap((run) => run.map((bucket, index) => {
      const from = index ? run[index - 1].end_s : bucket.start_s;       // a window that was skipped is no gap
      return bar(this.#x(from), this.#x(bucket.end_s), LABEL_HEIGHTS[bucket.label] ?? 0, bucket.label);
    }));
    const gaps = silences(buckets).map(([from, to]) => bar(this.#x(from), this.#x(to), HEIGHT, "NONE"));
    this.labels.svg.replaceChildren(...bars, ...gaps);
  }

  /** @param {readonly Bucket[]} buckets */
  #drawDrops(buckets) {
    const most = Math.max(1, ...buckets.map((bucket) => sumOf(bucket.dropped)));
    const hit = buckets.filter((bucket) => sumOf(bucket.dropped) > 0);
    this.drops.svg.replaceChildren(...hit.map((bucket) => bar(this.#x(bucket.start_s), this.#x(bucket.end_s), (sumOf(bucket.dropped) / most) * HEIGHT, "DROP")));
    const causes = hit.reduce((/** @type {Record<string, number>} */ all, bucket) => {
      for (const [cause, count] of Object.entries(bucket.dropped)) all[cause] = (all[cause] ?? 0) + count;
      return all;
    }, {});
    setText(this.drops.scale, Object.entries(causes).map(([cause, count]) => `${cause.replaceAll("_", " ")} ${count}`).join(", ") || "none");
  }

  /** @param {Timeline} timeline @param {readonly EvidenceFrame[]} frames */
  #drawMarks(timeline, frames) {
    const shots = frames.map((frame) => this.#pin("shot", frame.pts_s, `Evidence frame at ${clock(frame.pts_s)}`));
    const marks = timeline.marks.map((mark) => this.#pin(mark.kind, mark.at_s, markWords(mark)));
    this.marks.plot.replaceChildren(...shots, ...marks);
    setText(this.marks.scale, [frames.length && plural(frames.length, "frame"), ...alarmWords(timeline)].filter(Boolean).join(", ") || "no evidence, no alarm");
  }

  /** @param {string} kind @param {number} atS @param {string} words @returns {HTMLElement} */
  #pin(kind, atS, words) {
    const pin = element("i", "lane-pin");
    pin.dataset.kind = kind;
    pin.title = words;
    pin.style.left = `${Math.min(100, (atS / this.#extentS) * 100)}%`;
    return pin;
  }

  #makeSlider() {
    const { slider } = this;
    for (const [name, value] of Object.entries({ role: "slider", tabindex: "0", "aria-label": "Time in the call", "aria-valuemin": "0", "aria-orientation": "horizontal" })) {
      slider.setAttribute(name, value);
    }
    slider.addEventListener("keydown", (event) => {
      if (!event.altKey && !event.ctrlKey && !event.metaKey && this.handlers.onKey(event.key)) event.preventDefault();
    });
    slider.addEventListener("pointerdown", (event) => {
      slider.setPointerCapture(event.pointerId);
      this.#seek(event);
    });
    slider.addEventListener("pointermove", (event) => slider.hasPointerCapture(event.pointerId) && this.#seek(event));
  }

  /** @param {PointerEvent} event */
  #seek(event) {
    const { left, width } = this.slider.getBoundingClientRect();
    const atS = Math.max(0, Math.min(1, (event.clientX - left) / width)) * this.#extentS;
    const end = this.#timeline?.buckets.at(-1)?.end_s ?? 0;
    this.handlers.onSeek(atS >= end ? null : atS);
  }

  /** @param {number} seconds @returns {number} */
  #x(seconds) {
    return Math.round((seconds / this.#extentS) * WIDTH * 100) / 100;
  }
}

/** @param {number} share of the height, 0 at the bottom @returns {number} */
function y(share) {
  return Math.round((EDGE + (1 - Math.max(0, Math.min(1, share))) * (HEIGHT - 2 * EDGE)) * 100) / 100;
}

/** @param {Timeline} timeline @returns {string[]} */
function alarmWords(timeline) {
  const opened = timeline.marks.filter((mark) => mark.kind === "alarm_opened").length;
  return opened ? [plural(opened, "alarm")] : [];
}

/** @param {Record<string, number>} counts @returns {number} */
function sumOf(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** @param {string} tag @param {string} name @returns {HTMLElement} */
function element(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

/** @param {HTMLElement} host @param {string} name @param {string} kind */
function row(host, name, kind) {
  const root = host.appendChild(element("div", kind));
  const head = root.appendChild(element("div", "lane-head"));
  head.appendChild(element("span", "lane-name")).textContent = name;
  const value = head.appendChild(element("span", "lane-value"));
  const scale = head.appendChild(element("span", "lane-scale"));
  const plot = root.appendChild(element("div", "lane-plot"));
  plot.setAttribute("aria-hidden", "true");
  const svg = plot.appendChild(document.createElementNS(SVG, "svg"));
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  return { root, value, scale, plot, svg };
}

/** @param {SVGElement} svg @param {string} tag @param {string} name @returns {SVGElement} */
function drawn(svg, tag, name) {
  const made = svg.appendChild(document.createElementNS(SVG, tag));
  made.setAttribute("class", name);
  return made;
}

/** @param {number} from @param {number} to @param {number} height @param {string} kind @returns {SVGElement} */
function bar(from, to, height, kind) {
  const made = document.createElementNS(SVG, "rect");
  made.setAttribute("class", "lane-bar");
  made.dataset.kind = kind;
  for (const [name, value] of Object.entries({ x: from, width: Math.max(0.8, to - from), y: HEIGHT - height, height })) made.setAttribute(name, String(value));
  return made;
}
