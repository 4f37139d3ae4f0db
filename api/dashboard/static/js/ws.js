/**
 * The client of deepguard.v1 (docs/contracts/websocket.md): subscribes to all streams, reconnects with jittered
 * back-off and resumes by feed and offset. No DOM.
 *
 * @typedef {import("./types.js").ServerEvent} ServerEvent
 * @typedef {Object} Handlers
 * @property {(event: ServerEvent) => void} onEvent
 * @property {(events: ServerEvent[]) => void} onSnapshot   replaces everything known
 * @property {(state: "connecting"|"live"|"reconnecting"|"refused", retryAtMs: number) => void} onState
 * @property {() => string} key                             the API key, or ""
 * @property {() => Promise<boolean>} refused               asks over HTTP whether the key is what is wrong
 */

const PROTOCOL = "deepguard.v1";
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
const HELLO_TIMEOUT_MS = 8_000;
const HEARTBEAT_SPARE_MS = 5_000;
const CLOSE_AUTH = 4401;

/**
 * Full jitter between half and all of the exponential step.
 * @param {number} attempt  0 for the first retry
 * @param {number} random   0..1
 * @returns {number} ms
 */
export function backoffMs(attempt, random) {
  const step = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  return step / 2 + (step / 2) * random;
}

/** @param {string} key @returns {string[]} the subprotocols that carry it */
export function subprotocols(key) {
  if (!key) return [PROTOCOL];
  const binary = String.fromCharCode(...new TextEncoder().encode(key));
  return [PROTOCOL, `bearer.${btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`];
}

export class LiveClient {
  /** @type {WebSocket|null} */
  #socket = null;
  /** @type {string|null} */
  #feed = null;
  #offset = 0;
  #attempt = 0;
  #heartbeatMs = HELLO_TIMEOUT_MS;
  #retryTimer = 0;
  #silenceTimer = 0;

  /** @param {string} url @param {Handlers} handlers */
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    addEventListener("online", () => this.retryNow());
  }

  /** Connects, now; drops the connection that is there. */
  connect() {
    this.#forget();
    this.handlers.onState(this.#attempt === 0 ? "connecting" : "reconnecting", 0);
    const socket = new WebSocket(this.url, subprotocols(this.handlers.key()));
    this.#socket = socket;
    let greeted = false;
    socket.onmessage = (message) => {
      greeted = true;
      this.#receive(JSON.parse(message.data));
    };
    socket.onclose = (close) => this.#closed(close.code, greeted);
    this.#expectMessage();
  }

  /** Connects at once if it is waiting for its next try. */
  retryNow() {
    if (this.#retryTimer) this.connect();
  }

  /** Another key: what was heard under the old one is not to be resumed. */
  restart() {
    this.#feed = null;
    this.#offset = 0;
    this.#attempt = 0;
    this.connect();
  }

  #forget() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    this.#retryTimer = 0;
    const old = this.#socket;
    this.#socket = null;
    if (!old) return;
    old.onmessage = null;
    old.onclose = null;
    old.close();
  }

  /** A server that says nothing for longer than two heartbeats is gone, whatever TCP believes. */
  #expectMessage() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#closed(1006, true), this.#heartbeatMs);
  }

  /** @param {any} message */
  #receive(message) {
    this.#expectMessage();
    switch (message.type) {
      case "hello":
        this.#heartbeatMs = 2 * message.heartbeat_s * 1000 + HEARTBEAT_SPARE_MS;
        this.#send({ type: "subscribe", stream: "*", feed: this.#feed, offset: this.#feed ? this.#offset : null });
        break;
      case "subscribed":
        this.#subscribed(message);
        break;
      case "snapshot":
        this.#offset = message.offset;
        this.handlers.onSnapshot(message.events);
        break;
      case "event":
        if (message.offset <= this.#offset) break;
        this.#offset = message.offset;
        this.handlers.onEvent(message.event);
        break;
      case "ping":
        this.#send({ type: "pong" });
        break;
    }
  }

  /** @param {{feed: string, offset: number, recovered: boolean}} message */
  #subscribed(message) {
    if (!message.recovered) this.#offset = 0;
    this.#feed = message.feed;
    this.#attempt = 0;
    this.handlers.onState("live", 0);
  }

  /** @param {object} message */
  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /**
   * A handshake that the server refuses looks like any lost connection, so the key is asked after over HTTP.
   * @param {number} code
   * @param {boolean} greeted
   */
  async #closed(code, greeted) {
    this.#forget();
    if (code === CLOSE_AUTH || (!greeted && (await this.handlers.refused()))) {
      this.handlers.onState("refused", 0);
      return;
    }
    if (this.#socket) return;
    const waitMs = backoffMs(this.#attempt, Math.random());
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => this.connect(), waitMs);
    this.handlers.onState("reconnecting", Date.now() + waitMs);
  }
}
