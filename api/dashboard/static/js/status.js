/** Connection status, service notices, and the API key dialog. */

import { bringTo, byId, setText } from "./dom.js";
import { apiKey, keyRefused, setApiKey, urlOf } from "./http.js";

/** @typedef {import("./store.js").Connection} Connection */

const HEALTH_EVERY_MS = 15_000;
const TROUBLE_EVERY_MS = 3_000;

const PILL = { connecting: "Connecting", live: "Connected", reconnecting: "Reconnecting", refused: "Key needed" };

/** Shows the connection state and a retry button. */
export class ConnectionNotice {
  /** @type {Connection} */
  #connection = { state: "connecting", retryAtMs: 0 };

  /** @param {() => void} retry */
  constructor(retry) {
    byId("notice-connection-retry").addEventListener("click", retry);
  }

  /** @param {Connection} connection @param {number} nowMs */
  show(connection, nowMs) {
    this.#connection = connection;
    byId("connection").dataset.state = connection.state;
    setText(byId("connection-text"), PILL[connection.state]);
    byId("notice-connection").hidden = connection.state !== "reconnecting";
    this.tick(nowMs);
  }

  /** @param {number} nowMs */
  tick(nowMs) {
    const waitS = Math.max(0, Math.ceil((this.#connection.retryAtMs - nowMs) / 1000));
    setText(byId("notice-connection-text"), waitS ? `Next try in ${waitS} s.` : "Trying…");
  }
}

/**
 * Problems of the service, worst first. Keys: the `reasons` of /readyz, and `overloaded`.
 * @type {Record<string, {title: string, text: string}>}
 */
export const TROUBLES = {
  draining: { title: "The service is shutting down.", text: "Running calls are analyzed to their end; new calls are refused." },
  no_worker: { title: "No verdicts at the moment.", text: "The worker processes are starting. Calls are shown; verdicts follow when a worker is ready." },
  no_model: { title: "No detection model is loaded.", text: "Calls are shown, but without verdicts. Set MODEL_PATH to a model and restart the service." },
  no_storage: { title: "Alarms cannot be stored at the moment.", text: "The database of incidents does not work. Verdicts go on; alarms wait and are stored when it works again." },
  no_broker: { title: "Kafka does not answer.", text: "Verdicts may be out of date, because they come through Kafka." },
  overloaded: { title: "The service is overloaded.", text: "Less suspicious calls are sampled less often. No call is dropped." },
};

/** Polls /readyz and shows a notice if the service has a problem. */
export class HealthNotice {
  #lastMs = -Infinity;

  /** Polls more often during a problem, to show its end soon. */
  constructor() {
    setInterval(() => {
      const isDue = performance.now() - this.#lastMs >= HEALTH_EVERY_MS || !byId("notice-health").hidden;
      if (isDue && !document.hidden) this.check();
    }, TROUBLE_EVERY_MS);
  }

  async check() {
    this.#lastMs = performance.now();
    try {
      const response = await fetch(urlOf("readyz"), { cache: "no-store" });       // its 503 has a body as well
      this.#show(await response.json());
    } catch {
      // the connection notice already reports an unreachable service
    }
  }

  /** @param {{reasons: string[], problem: string, overloaded: boolean}} ready */
  #show({ reasons, problem, overloaded }) {
    const there = overloaded ? [...reasons, "overloaded"] : reasons;
    const worst = Object.keys(TROUBLES).find((reason) => there.includes(reason));
    byId("notice-health").hidden = !worst;
    if (!worst) return;
    const cause = worst === "no_model" && problem ? `${problem.replace(/[.\s]*$/, "")}. ` : "";
    byId("notice-health").dataset.reason = worst;
    setText(byId("notice-health-title"), TROUBLES[worst].title);
    setText(byId("notice-health-text"), cause + TROUBLES[worst].text);
  }
}

/** The API key dialog: checks a key before it stores it. */
export class KeyDialog {
  /** @param {() => void} onKey called when there is a new key */
  constructor(onKey) {
    this.onKey = onKey;
    this.dialog = byId("key-dialog");
    for (const opener of ["key-button", "locked-key"]) byId(opener).addEventListener("click", () => this.open());
    byId("key-cancel").addEventListener("click", () => this.dialog.close());
    byId("key-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  open() {
    byId("key-button").hidden = false;
    if (this.dialog.open) return;
    byId("key-input").value = apiKey();
    setText(byId("key-error"), "");
    this.dialog.showModal();
    byId("key-input").select();
  }

  async #submit() {
    const key = byId("key-input").value.trim();
    byId("key-save").disabled = true;
    const refused = await keyRefused(key);
    byId("key-save").disabled = false;
    if (refused) {
      setText(byId("key-error"), "The service does not accept this key.");
      byId("key-input").select();
      return;
    }
    setApiKey(key);
    this.dialog.close();
    this.onKey();
  }
}

/** Shows the WHIP URL for encoders. @param {boolean} protectedByKey */
export function showWhipAddress(protectedByKey) {
  const field = byId("whip-url");
  field.value = new URL("whip/my-call", document.baseURI).href;
  if (protectedByKey) setText(byId("whip-hint"), "Enter an API key as the bearer token of the encoder. Use a different last part of the address for each call.");
  field.addEventListener("focus", () => field.select());
  byId("whip-copy").addEventListener("click", async () => {
    const copied = await navigator.clipboard.writeText(field.value).then(() => true, () => false);
    if (!copied) field.select();
    setText(byId("whip-copy"), copied ? "Copied" : "Press Ctrl+C");
    setText(byId("whip-copied"), copied ? "Address copied" : "Press Ctrl+C to copy the address");
    setTimeout(() => setText(byId("whip-copy"), "Copy"), 2_000);
  });
  for (const [button, panel] of [["empty-whip", "connect"], ["empty-upload", "upload"]]) {
    byId(button).addEventListener("click", () => bringTo(byId(panel)));
  }
}
