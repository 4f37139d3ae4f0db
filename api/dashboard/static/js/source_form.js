/** The dialog "Add a source": a URL to pull, a port for RTP, or the command for a LiveKit room. */

import { byId, setText } from "./dom.js";
import { ApiError, errorWords, requestJson } from "./http.js";
import { sourceText } from "./format.js";
import { liveKitCommand, orderOf } from "./source_request.js";

/** @typedef {import("./source_request.js").Kind} Kind */

const FIELD_OF = /** @type {Record<string, string>} */ ({
  stream_exists: "stream", port_taken: "port", sender_missing: "from", bad_url: "", scheme_not_allowed: "", host_not_allowed: "",
  host_unknown: "", address_not_allowed: "",
});

export class SourceForm {
  /** @type {Kind} */
  #kind = "url";
  #keyed = false;

  /** @param {{onAdded: (source: import("./source_request.js").OwnSource) => void, onRefused: () => void}} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.dialog = byId("source-dialog");
    this.form = byId("source-form");
    byId("source-add").addEventListener("click", () => this.open());
    byId("source-cancel").addEventListener("click", () => this.dialog.close());
    byId("source-copy").addEventListener("click", () => this.#copy());
    this.dialog.addEventListener("close", () => this.form.reset());       // secrets do not outlive the dialog
    this.form.addEventListener("input", () => this.#show());
    this.form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** @param {boolean} keyed whether the service requires an API key */
  setKeyed(keyed) {
    this.#keyed = keyed;
  }

  open() {
    setText(byId("source-error"), "");
    this.#show();
    this.dialog.showModal();
  }

  /** Shows the fields of the chosen kind; hidden fields are disabled and not validated. */
  #show() {
    this.#kind = this.form.elements.kind.value;
    for (const block of this.form.querySelectorAll("[data-for]")) {
      const wanted = block.dataset.for.split(" ").includes(this.#kind);
      block.hidden = !wanted;
      block.disabled = !wanted;
    }
    const { livekit, room } = this.#fields();
    const service = new URL(".", document.baseURI).href.replace(/\/$/, "");
    setText(byId("source-command"), liveKitCommand(livekit ?? "", room ?? "", service, this.#keyed));
  }

  /** @returns {Record<string, string>} */
  #fields() {
    return Object.fromEntries([...new FormData(this.form)].map(([name, value]) => [name, String(value).trim()]));
  }

  async #submit() {
    if (this.#kind === "livekit") return this.dialog.close();
    setText(byId("source-error"), "");
    byId("source-save").disabled = true;
    try {
      const order = orderOf(this.#kind, { user: "", password: "", ...this.#fields() });
      const headers = { "Content-Type": "application/json" };
      this.#added(await requestJson("v1/streams", { method: "POST", headers, body: JSON.stringify(order) }));
    } catch (error) {
      this.#failed(error);
    } finally {
      byId("source-save").disabled = false;
    }
  }

  /** @param {{stream: string, source?: string, host?: string, rtp?: {port: number, codec: string}}} answer */
  #added({ stream, source, host, rtp }) {
    const kind = sourceText(source ?? (rtp ? "rtp" : this.#kind));
    const hint = rtp ? `Send ${rtp.codec.toUpperCase()} to UDP port ${rtp.port} of ${location.hostname}` : host ?? "";
    this.dialog.close();
    this.handlers.onAdded({ stream, kind, hint });
  }

  /** @param {unknown} error */
  #failed(error) {
    const isOurs = error instanceof TypeError && error.message.endsWith(".");
    setText(byId("source-error"), isOurs ? error.message : errorWords(error));
    if (!(error instanceof ApiError)) return;
    if (error.status === 401) return this.handlers.onRefused();
    const name = FIELD_OF[error.code];
    if (name !== undefined) this.form.elements[name || this.#kind]?.focus();
  }

  async #copy() {
    const copied = await navigator.clipboard.writeText(byId("source-command").textContent).then(() => true, () => false);
    setText(byId("source-copied"), copied ? "Command copied." : "Copying is not allowed here: select the text.");
  }
}
