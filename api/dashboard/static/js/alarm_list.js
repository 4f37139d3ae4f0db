/** The list of alarms that need a review, and the dialog of one. */

import { bringTo, byId, clone, setText } from "./dom.js";
import { errorWords, request, requestJson } from "./http.js";
import { IncidentView } from "./alarm_dialog.js";
import { plural, probability } from "./format.js";
import { incidentHref } from "./router.js";

/** @typedef {import("./alarm_dialog.js").Incident} Incident */

const LOADED = 200;      // the most that one request returns
const SHOWN = 20;
const SOON_MS = 300;        // several alarms at once are one request

/** @type {Record<string, string>} */
const REVIEWS = { open: "", confirmed: ", it is a fake", dismissed: ", false alarm" };

/** The list of alarms without a decision. Hidden while it is empty. */
export class AlarmPanel {
  #panel = byId("alarms");
  #list = byId("alarm-list");
  #status = byId("alarm-status");
  #dialog = byId("incident-dialog");
  #timer = 0;

  /** @param {{onDecided: () => void, onLoaded: (incidents: Incident[], more: boolean) => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    byId("incident-call").addEventListener("click", () => this.#dialog.close());
    byId("incident-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", leaveAddress);
    byId("incident-link").addEventListener("click", () => this.#copyLink());
    for (const decision of ["confirm", "dismiss", "reopen"]) {
      byId(`incident-${decision}`).addEventListener("click", () => this.#decide(decision));
    }
    byId("incident-note-save").addEventListener("click", () => this.#decide("note"));
    byId("incident-export").addEventListener("click", () => this.#export());
  }

  /** Schedules a reload. */
  refresh() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), SOON_MS);
  }

  async #load() {
    try {
      const { incidents, next } = await requestJson(`v1/incidents?review=open&limit=${LOADED}`, { cache: "no-store" });
      this.#show(incidents, next !== null);
    } catch (error) {
      setText(this.#status, `Alarms cannot be loaded. ${errorWords(error)}`);
    }
  }

  /** @param {Incident[]} incidents @param {boolean} more */
  #show(incidents, more) {
    this.handlers.onLoaded(incidents, more);
    this.#panel.hidden = incidents.length === 0 && this.#panel.hidden;
    setText(this.#status, incidents.length ? `${plural(incidents.length, "alarm")}${more ? " and more" : ""} to review.`
      : "No alarm needs a review.");
    this.#list.replaceChildren(...incidents.slice(0, SHOWN).map((incident) => alarmItem(incident, (id) => this.open(id))));
  }

  /** The dialog with its evidence. @param {string} id */
  async open(id) {
    try {
      const details = await requestJson(`v1/incidents/${id}`, { cache: "no-store" });
      this.#dialog.dataset.incident = id;
      setText(byId("incident-title"), `Alarm: ${nameOf(details)}, ${timeOf(details.opened_s)}`);
      setText(byId("incident-error"), "");
      setText(byId("incident-id"), id);
      byId("incident-reopen").hidden = details.review === "open";
      await new IncidentView(details).show();
      if (!this.#dialog.open) this.#dialog.showModal();
    } catch (error) {
      setText(this.#status, errorWords(error));
    }
  }

  /** @param {string} decision */
  async #decide(decision) {
    const note = byId("incident-note");
    const body = JSON.stringify({ decision, note: note.value });
    const id = this.#dialog.dataset.incident;
    try {
      const answer = await request(`v1/incidents/${id}/review`, {
        method: "POST", body, headers: { "Content-Type": "application/json" },
      });
      note.value = "";
      if (decision === "note") return void new IncidentView(await answer.json()).showNotes();
      this.#dialog.close();
      this.handlers.onDecided();
      await this.#load();
      bringTo(byId("home").hidden ? (byId("call").hidden ? byId("incidents") : byId("call-alarms")) : this.#panel);
    } catch (error) {
      setText(byId("incident-error"), errorWords(error));
    }
  }

  async #copyLink() {
    const link = new URL(incidentHref(this.#dialog.dataset.incident ?? ""), document.baseURI).href;
    try {
      await navigator.clipboard.writeText(link);
      setText(byId("incident-copied"), "Copied");
    } catch {
      setText(byId("incident-copied"), link);     // no clipboard without HTTPS
    }
  }

  /** Downloads the export with the API key, which a link cannot send. */
  async #export() {
    const id = this.#dialog.dataset.incident;
    try {
      const zip = await (await request(`v1/incidents/${id}/export`)).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(zip);
      link.download = `${id}.zip`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) {
      setText(byId("incident-error"), errorWords(error));
    }
  }
}

/** Takes the incident out of the address, so that its link opens it again. */
function leaveAddress() {
  if (location.hash.startsWith(incidentHref(""))) history.replaceState(null, "", incidentHref("").replace(/\/$/, ""));
}

/**
 * Builds the list entry of an alarm.
 * @param {Incident} incident
 * @param {(id: string) => void} onLook
 * @returns {HTMLElement}
 */
export function alarmItem(incident, onLook) {
  const { root, parts } = clone("alarm-template");
  root.toggleAttribute("data-closed", incident.closed_s !== null);
  setText(parts.name, nameOf(incident));
  const state = incident.closed_s === null ? "still open" : "over";
  const review = REVIEWS[incident.review] ?? `, ${incident.review}`;
  setText(parts.facts, `${timeOf(incident.opened_s)}, ${probability(incident.prob_fake)} fake, ${state}${review}`);
  parts.look.setAttribute("aria-label", `Review the alarm of ${nameOf(incident)}`);
  parts.look.addEventListener("click", () => onLook(incident.id));
  return root;
}

/** @param {Incident} incident @returns {string} */
function nameOf(incident) {
  return incident.participant_id || incident.stream;
}

/** @param {number} unixS @returns {string} */
function timeOf(unixS) {
  return new Date(unixS * 1000).toLocaleString();
}
