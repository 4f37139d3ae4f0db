/** Chart of the frequency spectrum of a face, compared with real faces. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 100;

/** @typedef {{low: number[], middle: number[], high: number[], faces: number, source: string}} RealSpectrum */

/** The chart inside `host`, with constant size. */
export class SpectrumChart {
  /** @param {HTMLElement} host */
  constructor(host) {
    const plot = host.appendChild(document.createElement("div"));
    plot.className = "spectrum-plot";
    this.svg = plot.appendChild(document.createElementNS(SVG, "svg"));
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    [this.band, this.middle, this.line] = ["spectrum-band", "spectrum-middle", "spectrum-line"].map((name) => {
      const path = this.svg.appendChild(document.createElementNS(SVG, "path"));
      path.setAttribute("class", name);
      return path;
    });
    host.append(words("spectrum-axis", ["coarse", "detail", "fine"]), words("spectrum-legend", ["this face", "90 % of real faces", "their median"]));
  }

  /** @param {number[]} face  32 bands, or empty @param {RealSpectrum|null} real */
  draw(face, real) {
    const shown = [...face, ...(real ? [...real.low, ...real.high] : [])];
    const [least, most] = [Math.min(...shown), Math.max(...shown)];
    const at = (/** @type {number} */ power, /** @type {number} */ band) =>
      `${((band + 0.5) / 32) * WIDTH} ${(HEIGHT * (1 - (power - least) / (most - least || 1))).toFixed(1)}`;
    const line = (/** @type {number[]} */ powers) => (powers.length ? `M${powers.map(at).join("L")}` : "");
    this.line.setAttribute("d", line(face));
    this.middle.setAttribute("d", line(real?.middle ?? []));
    const lower = (real?.low ?? []).map(at).reverse();
    this.band.setAttribute("d", real ? `${line(real.high)}L${lower.join("L")}Z` : "");
  }
}

/** @param {string} name @param {string[]} texts @returns {HTMLElement} */
function words(name, texts) {
  const line = document.createElement("div");
  line.className = name;
  line.setAttribute("aria-hidden", "true");
  for (const text of texts) line.appendChild(document.createElement("span")).textContent = text;
  return line;
}
