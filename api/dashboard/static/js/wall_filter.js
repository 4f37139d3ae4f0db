/** Filter bar of the wall: call counts per label, label filter and search field. */

import { byId, setText } from "./dom.js";
import { labelOf } from "./format.js";

/** @typedef {import("./call_order.js").Filter} Filter */

const LABELS = ["FAKE", "UNCERTAIN", "REAL", "NO_FACE", "WAITING", "ENDED"];

export class FilterBar {
  /** @type {Filter} */
  filter = { label: "", text: "" };
  /** @type {Map<string, {button: HTMLButtonElement, count: Element}>} */
  #chips = new Map();

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    this.bar = byId("filter-labels");
    for (const label of ["", ...LABELS]) this.#chips.set(label, this.#chip(label));
    byId("filter-text").addEventListener("input", () => this.#set({ text: byId("filter-text").value }));
    this.#show();
  }

  /** Clears the filter. */
  clear() {
    byId("filter-text").value = "";
    this.#set({ label: "", text: "" });
    byId("filter-text").focus({ preventScroll: true });
  }

  /** @param {Record<string, number>} counts by label @param {number} total */
  showCounts(counts, total) {
    for (const [label, { button, count }] of this.#chips) {
      setText(count, String(label ? counts[label] ?? 0 : total));
      button.toggleAttribute("data-none", Boolean(label) && !counts[label]);
    }
  }

  /** @param {string} label @returns {{button: HTMLButtonElement, count: Element}} */
  #chip(label) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "chip" });
    button.dataset.label = label;
    if (label) button.append(iconOf(labelOf(label).icon));
    button.append(label ? labelOf(label).words : "All", " ");
    const count = button.appendChild(document.createElement("b"));
    count.textContent = "0";
    button.addEventListener("click", () => this.#set({ label: this.filter.label === label ? "" : label }));
    this.bar.append(button);
    return { button, count };
  }

  /** @param {Partial<Filter>} change */
  #set(change) {
    this.filter = { ...this.filter, ...change };
    this.#show();
    this.onChange();
  }

  #show() {
    for (const [label, { button }] of this.#chips) button.setAttribute("aria-pressed", String(this.filter.label === label));
  }
}

/** @param {string} name @returns {SVGSVGElement} a symbol of icons.svg */
function iconOf(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "use")).setAttribute("href", `static/icons.svg#${name}`);
  return svg;
}
