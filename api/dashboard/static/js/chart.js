/**
 * Line chart of probabilities over time or frames: an SVG that scales with its box and takes its colours from CSS.
 *
 * @typedef {{x: number, p: number|null, label?: string, alarm?: number|null, open?: boolean}} Point
 *
 * @typedef {Object} Scale
 * @property {number} from      x at the left edge
 * @property {number} to        x at the right edge
 * @property {number} maxStep   points further apart than this are not connected
 * @property {"linear"|"odds"} axis
 */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 100;
const LOGIT_MAX = 6.9;

/**
 * Vertical axes: map a probability to 0 (bottom) to 1. `odds` is logarithmic in the odds, which separates 90 % from 99 %;
 * it ranges from 0.1 % to 99.9 %.
 * @type {Record<string, {place: (p: number) => number, ticks: string[]}>}
 */
export const AXES = {
  linear: { place: (p) => p, ticks: ["100", "50", "0 %"] },
  odds: { place: (p) => (clamp(Math.log(p / (1 - p))) / LOGIT_MAX + 1) / 2, ticks: ["99.9", "50", "0.1 %"] },
};

/** @param {number} logit @returns {number} */
function clamp(logit) {
  return Math.max(-LOGIT_MAX, Math.min(LOGIT_MAX, logit));
}

/**
 * Returns runs of points that a line may connect, by x.
 * @param {readonly Point[]} points
 * @param {number} maxStep
 * @returns {{x: number, p: number, label?: string}[][]}
 */
export function runs(points, maxStep) {
  const found = [];
  /** @type {any[]} */
  let run = [];
  for (const point of points) {
    const broken = point.p === null || (run.length > 0 && point.x - run[run.length - 1].x > maxStep);
    if (broken && run.length) {
      found.push(run);
      run = [];
    }
    if (point.p !== null) run.push(point);
  }
  if (run.length) found.push(run);
  return found;
}

/**
 * Returns intervals between the first and the last point that no run covers.
 * @param {readonly Point[]} points
 * @param {Scale} scale
 * @returns {[number, number][]}
 */
export function gaps(points, scale) {
  if (!points.length) return [];
  const covered = runs(points, scale.maxStep).map((run) => [run[0].x, run[run.length - 1].x]);
  /** @type {[number, number][]} */
  const found = [];
  let at = points[0].x;
  for (const [start, end] of [...covered, [points[points.length - 1].x, 0]]) {
    if (start > at) found.push([Math.max(at, scale.from), start]);
    at = end;
  }
  return found.filter(([start, end]) => end > start && end > scale.from);
}

/**
 * Returns where alarms opened and ended.
 * @param {readonly Point[]} points
 * @returns {{x: number, kind: "opened"|"over"}[]}
 */
export function alarmMarks(points) {
  /** @type {{x: number, kind: "opened"|"over"}[]} */
  const found = [];
  let open = points[0]?.open ?? false;
  for (const point of points) {
    if (point.open === undefined || point.open === open) continue;
    open = point.open;
    found.push({ x: point.x, kind: open ? "opened" : "over" });
  }
  return found;
}

/** @param {number} x @param {Scale} scale @returns {number} */
function across(x, scale) {
  return ((x - scale.from) / (scale.to - scale.from || 1)) * WIDTH;
}

/** @param {number} x @param {Scale} scale @returns {number} of the plot's width; moves elements without a layout pass */
function percent(x, scale) {
  return across(x, scale) / (WIDTH / 100);
}

/** @param {number} p @param {Scale} scale @returns {number} */
function down(p, scale) {
  return (1 - AXES[scale.axis].place(p)) * HEIGHT;
}

/** @param {{x: number, p: number}[]} run @param {Scale} scale @returns {string} */
function pathOf(run, scale) {
  const steps = run.map((point) => `${across(point.x, scale).toFixed(1)} ${down(point.p, scale).toFixed(1)}`);
  return steps.length === 1 ? `M${steps[0]}h0` : `M${steps.join("L")}`;
}

/**
 * Returns the parts of runs with this label, each with the point before it to keep the line connected.
 * @param {any[][]} joined
 * @param {string} label
 * @returns {any[][]}
 */
function labelled(joined, label) {
  /** @type {any[][]} */
  const found = [];
  for (const run of joined) {
    let from = -1;
    run.forEach((point, index) => {
      const inside = point.label === label;
      if (inside && from < 0) from = Math.max(0, index - 1);
      if (from >= 0 && (!inside || index === run.length - 1)) {
        found.push(run.slice(from, inside ? index + 1 : index));
        from = -1;
      }
    });
  }
  return found;
}

/** A chart inside `host`. `draw` redraws it; its size is constant. */
export class Chart {
  /** @type {Scale} */
  #scale = { from: 0, to: 1, maxStep: Infinity, axis: "linear" };

  /** @param {HTMLElement} host @param {{axis: "linear"|"odds", left: string, right: string}} look words under the axis */
  constructor(host, look) {
    this.axis = look.axis;
    this.plot = host.appendChild(document.createElement("div"));
    this.plot.className = "plot";
    this.gaps = this.plot.appendChild(document.createElement("div"));
    this.gaps.className = "plot-gaps";
    this.limits = this.plot.appendChild(document.createElement("div"));
    this.limits.className = "plot-limits";
    this.limits.hidden = true;
    for (const kind of ["alarm", "over"]) this.limits.appendChild(document.createElement("i")).dataset.kind = kind;
    this.cursor = this.plot.appendChild(document.createElement("i"));
    this.cursor.className = "plot-cursor";
    this.cursor.hidden = true;
    this.marks = document.createElement("div");
    this.marks.className = "plot-marks";
    this.svg = this.plot.appendChild(document.createElementNS(SVG, "svg"));
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.band = this.#add("rect", "plot-band");
    for (const y of [0, 50, 100]) this.#add("path", y === 50 ? "plot-grid middle" : "plot-grid").setAttribute("d", `M0 ${y}H${WIDTH}`);
    this.level = this.#add("path", "plot-level");
    this.line = this.#add("path", "plot-line");
    this.alarm = this.#add("path", "plot-line alarm");
    this.head = this.#add("path", "plot-head");
    this.plot.append(this.marks);
    host.append(axis("plot-axis-y", AXES[look.axis].ticks), axis("plot-axis-x", [look.left, look.right]));
  }

  /** @param {string} tag @param {string} name @returns {SVGElement} */
  #add(tag, name) {
    const element = this.svg.appendChild(document.createElementNS(SVG, tag));
    element.setAttribute("class", name);
    return element;
  }

  /** Sets the band of probabilities that are labelled uncertain. @param {{low: number, high: number}|null} band */
  setBand(band) {
    const { place } = AXES[this.axis];
    const [low, high] = band ? [place(band.low), place(band.high)] : [0, 0];
    for (const [name, value] of Object.entries({ x: 0, width: WIDTH, y: (1 - high) * HEIGHT, height: (high - low) * HEIGHT })) {
      this.band.setAttribute(name, String(value));
    }
  }

  /** Shows or hides the levels at which an alarm opens (top) and ends (a quarter). @param {boolean} shown */
  setLimits(shown) {
    this.limits.hidden = !shown;
  }

  /** Marks a position. Call it after `draw`. @param {number} x */
  setCursor(x) {
    this.cursor.hidden = false;
    this.cursor.style.translate = `${percent(x, this.#scale).toFixed(2)}%`;
  }

  /** @param {readonly Point[]} points @param {Omit<Scale, "axis">} range */
  draw(points, range) {
    const scale = this.#scale = { ...range, axis: this.axis };
    const shown = points.filter((point) => point.x >= scale.from - scale.maxStep);
    const joined = runs(shown, scale.maxStep);
    const last = shown.at(-1);
    this.line.setAttribute("d", joined.map((run) => pathOf(run, scale)).join(""));
    this.level.setAttribute("d", levels(shown, scale).map((run) => pathOf(run, { ...scale, axis: "linear" })).join(""));
    this.alarm.setAttribute("d", labelled(joined, "FAKE").map((run) => pathOf(run, scale)).join(""));
    this.head.setAttribute("d", last && last.p !== null ? pathOf([{ x: last.x, p: last.p }], scale) : "");
    this.#drawGaps(gaps(shown, scale), scale);
    const marks = alarmMarks(shown);
    this.#drawMarks(marks, scale);
    this.#describe(summary(joined, marks));
  }

  /** @param {string} words */
  #describe(words) {
    if (this.svg.getAttribute("aria-label") !== words) this.svg.setAttribute("aria-label", words);
  }

  /** @param {{x: number, kind: string}[]} found @param {Scale} scale */
  #drawMarks(found, scale) {
    while (this.marks.children.length > found.length) this.marks.lastChild?.remove();
    found.forEach(({ x, kind }, index) => {
      const mark = /** @type {HTMLElement} */ (this.marks.children[index] ?? this.marks.appendChild(document.createElement("i")));
      mark.style.translate = `${percent(x, scale).toFixed(2)}%`;
      mark.dataset.kind = kind;
    });
  }

  /** @param {[number, number][]} found @param {Scale} scale */
  #drawGaps(found, scale) {
    while (this.gaps.children.length > found.length) this.gaps.lastChild?.remove();
    found.forEach(([start, end], index) => {
      const bar = /** @type {HTMLElement} */ (this.gaps.children[index] ?? this.gaps.appendChild(document.createElement("i")));
      bar.style.clipPath = `inset(0 ${(100 - percent(end, scale)).toFixed(2)}% 0 ${percent(start, scale).toFixed(2)}%)`;
    });
  }
}

/** Returns the alarm level as runs. @param {readonly Point[]} points @param {Scale} scale @returns {{x: number, p: number}[][]} */
function levels(points, scale) {
  return runs(points.map(({ x, alarm }) => ({ x, p: alarm ?? null })), scale.maxStep);
}

/** @param {string} name @param {string[]} words @returns {HTMLElement} */
function axis(name, words) {
  const element = document.createElement("div");
  element.className = name;
  element.setAttribute("aria-hidden", "true");
  for (const word of words) element.appendChild(document.createElement("span")).textContent = word;
  return element;
}

/** @param {{p: number}[][]} joined @param {{kind: string}[]} marks @returns {string} text alternative of the chart */
function summary(joined, marks) {
  const values = joined.flat().map((point) => point.p);
  if (!values.length) return "Probability of a fake: no values";
  const [now, low, high] = [values[values.length - 1], Math.min(...values), Math.max(...values)].map((p) => Math.round(p * 100));
  const alarms = marks.filter(({ kind }) => kind === "opened").length;
  const told = alarms ? `; ${alarms === 1 ? "an alarm" : `${alarms} alarms`} opened` : "";
  return `Probability of a fake: ${now} percent at the end, between ${low} and ${high} percent before${told}`;
}
