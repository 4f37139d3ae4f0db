/**
 * Alarms that nobody has reviewed are visible on every page: in the title and the icon of the tab and, if the person
 * wants it, by a sound and a desktop notification. The wishes are kept in this browser.
 *
 * @typedef {import("./alarm_dialog.js").Incident} Incident
 */

import { byId, setText } from "./dom.js";
import { plural } from "./format.js";

const ICON = "static/icon.svg";
const ALARM_ICON = "static/icon-alarm.svg";
const SOUND_KEY = "deepguard.alarm-sound";
const NOTIFY_KEY = "deepguard.alarm-notifications";
const TONES_HZ = [880, 660];
const TONE_S = 0.18;

/**
 * Returns the title of the tab.
 * @param {number} open  alarms without a review
 * @param {boolean} more  whether there are more than were loaded
 * @returns {string}
 */
export function tabTitle(open, more) {
  return open ? `(${open}${more ? "+" : ""}) ${open === 1 ? "Alarm" : "Alarms"} to review – DeepGuard` : "DeepGuard";
}

/**
 * Returns the alarms that were not there before.
 * @param {readonly Incident[]} incidents
 * @param {ReadonlySet<string>|null} known  null: nothing was loaded yet, so nothing is new
 * @returns {Incident[]}
 */
export function newAlarms(incidents, known) {
  return known ? incidents.filter((incident) => !known.has(incident.id)) : [];
}

export class AlarmAttention {
  /** @type {Set<string>|null} */
  #known = null;
  /** @type {AudioContext|null} */
  #audio = null;
  #sound = byId("alert-sound");
  #notify = byId("alert-notify");

  /** @param {{onOpen: (id: string) => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.#sound.checked = localStorage.getItem(SOUND_KEY) === "on";
    this.#notify.checked = localStorage.getItem(NOTIFY_KEY) === "on" && permission() === "granted";
    this.#sound.addEventListener("change", () => this.#setSound());
    this.#notify.addEventListener("change", () => this.#setNotify());
  }

  /** @param {readonly Incident[]} incidents  alarms without a review @param {boolean} more */
  show(incidents, more) {
    document.title = tabTitle(incidents.length, more);
    const icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]"));
    const wanted = incidents.length ? ALARM_ICON : ICON;
    if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
    const fresh = newAlarms(incidents, this.#known);
    this.#known = new Set(incidents.map((incident) => incident.id));
    if (!fresh.length) return;
    if (this.#sound.checked) this.#play();
    if (this.#notify.checked) this.#tell(fresh);
  }

  #setSound() {
    localStorage.setItem(SOUND_KEY, this.#sound.checked ? "on" : "off");
    if (this.#sound.checked) this.#play();      // browsers allow sound only after a click; this one unlocks it
  }

  async #setNotify() {
    if (this.#notify.checked && permission() === "default") await Notification.requestPermission();
    if (permission() !== "granted") this.#notify.checked = false;
    const refused = permission() === "denied" ? "This browser blocks notifications of this page." : "";
    setText(byId("alert-status"), permission() === "unknown" ? "This browser has no notifications." : refused);
    localStorage.setItem(NOTIFY_KEY, this.#notify.checked ? "on" : "off");
  }

  #play() {
    this.#audio ??= new AudioContext();
    void this.#audio.resume();
    for (const [index, frequency] of TONES_HZ.entries()) {
      const tone = new OscillatorNode(this.#audio, { frequency });
      const volume = new GainNode(this.#audio, { gain: 0.2 });
      tone.connect(volume).connect(this.#audio.destination);
      tone.start(this.#audio.currentTime + index * TONE_S);
      tone.stop(this.#audio.currentTime + (index + 1) * TONE_S);
    }
  }

  /** @param {Incident[]} fresh */
  #tell(fresh) {
    const [first] = fresh;
    const name = first.participant_id || first.stream;
    const body = fresh.length === 1 ? name : `${name} and ${plural(fresh.length - 1, "more alarm")}`;
    const notification = new Notification("Likely fake on a call", { body, tag: "deepguard-alarm" });
    notification.onclick = () => {
      window.focus();
      this.handlers.onOpen(first.id);
    };
  }
}

/** @returns {NotificationPermission|"unknown"} */
function permission() {
  return "Notification" in window ? Notification.permission : "unknown";
}
