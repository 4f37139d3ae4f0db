/** Connection pill, notices above the wall, and the dialog for the API key. */

import { bringTo, byId, setText } from "./dom.js";
import { apiKey, keyRefused, requestJson, setApiKey } from "./http.js";

/** @typedef {import("./store.js").Connection} Connection */

const HEALTH_EVERY_MS = 15_000;

const PILL = { connecting: "Connecting", live: "Connected", reconnecting: "Reconnecting", refused: "Key needed" };

/** Shows how the page is connected, and what to do when it is not. */
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

/** Asks the service how it is, now and then, and says so when it cannot judge. */
export class HealthNotice {
  constructor() {
    setInterval(() => document.hidden || this.check(), HEALTH_EVERY_MS);
  }

  async check() {
    try {
      this.#show(await requestJson("health", { cache: "no-store" }));
    } catch {
      // the connection notice already tells that the service is away
    }
  }

  /** @param {{model_loaded: boolean, version?: string, problem?: string}} health */
  #show(health) {
    byId("notice-model").hidden = health.model_loaded;
    const cause = health.problem ? `${health.problem.replace(/[.\s]*$/, "")}. ` : "";
    setText(byId("notice-model-text"), `${cause}Calls are shown, but none can be judged until it is there.`);
    if (health.version) setText(byId("version"), `DeepGuard ${health.version}`);
  }
}

/** The dialog that asks for the API key and tries it before it is kept. */
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

/** The WHIP address to copy into an encoder. @param {boolean} protectedByKey */
export function showWhipAddress(protectedByKey) {
  const field = byId("whip-url");
  field.value = new URL("whip/my-call", document.baseURI).href;
  if (protectedByKey) setText(byId("whip-hint"), "Put an API key into the encoder's bearer token field. Give each call its own last part of the address.");
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
