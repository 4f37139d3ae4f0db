/** The page of all incidents: search, filters, review of several at once. `#/incidents/<id>` opens the dialog of one. */

import { byId, clone, setText } from "./dom.js";
import { plural, probability } from "./format.js";
import { errorWords, request, requestJson } from "./http.js";
import { incidentHref } from "./router.js";

/** @typedef {import("./alarm_dialog.js").Incident} Incident */

const PAGE = 50;
const TYPED_MS = 250;       // after the last key, so that typing is not a request per letter
const DAY_S = 86_400;

/** @type {Record<string, string>} */
const REVIEWS = { open: "to review", confirmed: "it is a fake", dismissed: "false alarm" };

/**
 * Returns the query of the incident list.
 * @param {{text: string, review: string, from: string, to: string}} filter  dates as yyyy-mm-dd in local time, or ""
 * @param {string} cursor  "" for the first page
 * @returns {string}
 */
export function listQuery({ text, review, from, to }, cursor) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (text.trim()) query.set("text", text.trim());
  if (review) query.set("review", review);
  if (from) query.set("since", String(dayS(from)));
  if (to) query.set("until", String(dayS(to) + DAY_S));
  if (cursor) query.set("cursor", cursor);
  return query.toString();
}

/** @param {string} day @returns {number} Unix time of its local midnight */
function dayS(day) {
  return new Date(`${day}T00:00`).getTime() / 1000;
}

export class IncidentPage {
  #page = byId("incidents");
  #list = byId("incident-list");
  #status = byId("incident-status");
  #more = byId("incident-more");
  #cursor = "";
  #shown = 0;
  #turn = 0;
  #timer = 0;

  /** @param {{onLook: (id: string) => void, onReviewed: () => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    for (const name of ["text", "review", "from", "to"]) {
      byId(`incident-${name}`).addEventListener("input", () => this.#soon());
    }
    byId("incident-filters").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    this.#more.addEventListener("click", () => this.#load(false));
    this.#list.addEventListener("change", () => this.#count());
    byId("incident-all").addEventListener("change", () => this.#selectAll());
    byId("incident-bulk").addEventListener("click", () => this.#dismissSelected());
  }

  /** @param {import("./router.js").Route} route */
  show(route) {
    const isHere = route.page === "incidents";
    const wasHere = !this.#page.hidden;
    this.#page.hidden = !isHere;
    if (!isHere) return;
    if (!wasHere) this.reload();
    if (route.incident) this.handlers.onLook(route.incident);
  }

  /** Loads the first page again, if the page is shown. */
  reload() {
    if (!this.#page.hidden) this.#load(true);
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(true), TYPED_MS);
  }

  /** @param {boolean} anew  replaces what is shown */
  async #load(anew) {
    const turn = ++this.#turn;
    const [text, review, from, to] = ["text", "review", "from", "to"].map((name) => byId(`incident-${name}`).value);
    try {
      const query = listQuery({ text, review, from, to }, anew ? "" : this.#cursor);
      const { incidents, next } = await requestJson(`v1/incidents?${query}`, { cache: "no-store" });
      if (turn !== this.#turn) return;
      if (anew) this.#list.replaceChildren();
      this.#shown = anew ? incidents.length : this.#shown + incidents.length;
      this.#list.append(...incidents.map(rowOf));
      this.#cursor = next ?? "";
      this.#more.hidden = next === null;
      setText(this.#status, this.#shown ? `${plural(this.#shown, "incident")}${next === null ? "" : " and more"}, newest first.`
        : "No incident matches.");
      this.#count();
    } catch (error) {
      if (turn === this.#turn) setText(this.#status, `Incidents cannot be loaded. ${errorWords(error)}`);
    }
  }

  /** @returns {HTMLInputElement[]} */
  #selected() {
    return [...this.#list.querySelectorAll("input:checked")];
  }

  #selectAll() {
    for (const box of this.#list.querySelectorAll("input")) box.checked = byId("incident-all").checked;
    this.#count();
  }

  #count() {
    const count = this.#selected().length;
    byId("incident-bulk").disabled = count === 0;
    setText(byId("incident-bulk"), count ? `False alarm (${count})` : "False alarm");
    byId("incident-all").checked = count > 0 && count === this.#list.children.length;
  }

  async #dismissSelected() {
    const boxes = this.#selected();
    byId("incident-bulk").disabled = true;
    let done = 0;
    try {
      for (const box of boxes) {
        setText(this.#status, `Reviewing ${done + 1} of ${boxes.length}…`);
        await request(`v1/incidents/${box.value}/review`, {
          method: "POST", body: JSON.stringify({ decision: "dismiss" }), headers: { "Content-Type": "application/json" },
        });
        done += 1;
      }
      await this.#load(true);
    } catch (error) {
      await this.#load(true);
      setText(this.#status, `${done} of ${boxes.length} reviewed. ${errorWords(error)}`);
    }
    this.handlers.onReviewed();
  }
}

/** @param {Incident & Record<string, any>} incident @returns {HTMLElement} */
function rowOf(incident) {
  const { root, parts } = clone("incident-row-template");
  const name = incident.participant_id || incident.stream;
  root.dataset.review = incident.review;
  parts.select.value = incident.id;
  parts.select.setAttribute("aria-label", `Select the incident of ${name}`);
  setText(parts.name, name);
  parts.name.href = incidentHref(incident.id);
  const when = new Date(incident.opened_s * 1000);
  parts.when.dateTime = when.toISOString();
  setText(parts.when, when.toLocaleString(undefined, { timeZoneName: "short" }));
  setText(parts.where, [incident.stream, incident.call_id && `call ${incident.call_id}`].filter(Boolean).join(" · "));
  const who = incident.reviewed_by ? ` by ${incident.reviewed_by}` : "";
  setText(parts.review, `${REVIEWS[incident.review] ?? incident.review}${who}`);
  setText(parts.level, `prob. fake ${probability(incident.prob_fake)}${incident.closed_s === null ? ", still open" : ""}`);
  return root;
}
