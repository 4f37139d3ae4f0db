/**
 * Request body of the form "Add a source", and state texts of sources. No DOM.
 *
 * @typedef {"url"|"whep"|"rtp"|"livekit"} Kind
 *
 * @typedef {{stream: string, source: string, host: string, state: "connecting"|"receiving"|"retrying"|"failed",
 *   retry_in_s: number|null, problem: {code: string, message: string}|null}} FetchedSource  as GET /v1/streams lists it
 *
 * @typedef {{stream: string, kind: string, hint: string}} OwnSource  added by this tab; without URL or secrets
 */

import { endText, sentence, sourceText } from "./format.js";

/**
 * Returns the body of POST /v1/streams. Throws TypeError with a text if the URL is invalid.
 * @param {Kind} kind
 * @param {Record<string, string>} fields  by their name in the form, trimmed
 * @returns {Record<string, unknown>}
 */
export function orderOf(kind, fields) {
  const order = filled({ stream: fields.stream, call_id: fields.call, participant_id: fields.participant });
  if (kind === "url") return { ...order, url: withLogin(fields.url, fields.user, fields.password) };
  if (kind === "whep") return { ...order, ...filled({ whep: fields.whep, token: fields.token }) };
  const numbers = { port: numberOf(fields.port), payload_type: numberOf(fields.payload) };
  return { ...order, rtp: { codec: fields.codec, ...filled({ from: fields.from }), ...filled(numbers) } };
}

/** @param {Record<string, unknown>} fields @returns {Record<string, unknown>} without empty fields */
function filled(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== "" && value !== undefined));
}

/** @param {string} text @returns {number|undefined} */
function numberOf(text) {
  return text ? Number(text) : undefined;
}

/** @param {string} address @param {string} user @param {string} password @returns {string} */
function withLogin(address, user, password) {
  if (!user && !password) return address;
  const [scheme, rest] = address.split("://", 2);
  if (!rest) throw new TypeError("This is not a valid address. Example: rtsp://camera.example.com/main");
  if (rest.split(/[/?#]/, 1)[0].includes("@")) throw new TypeError("The address has a login already: empty the fields for it.");
  return `${scheme}://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${rest}`;
}

/**
 * Returns the command to run near the LiveKit server.
 * @param {string} server  of LiveKit
 * @param {string} room
 * @param {string} service the address of this service
 * @param {boolean} keyed  whether the service requires an API key
 * @returns {string}
 */
export function liveKitCommand(server, room, service, keyed) {
  const words = ["deepguard", "livekit", "--url", quoted(server || "wss://sfu.example.com"), "--room", quoted(room || "ROOM"), "--to", quoted(service)];
  return words.join(" ") + (keyed ? " --key-stdin < deepguard.key" : "");
}

/** @param {string} word @returns {string} for a POSIX shell */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * @param {FetchedSource|undefined} fetched
 * @param {import("./store.js").StreamView|undefined} view
 * @returns {{state: "waiting"|"live"|"ended"|"failed", words: string}}
 */
export function standingOf(fetched, view) {
  if (fetched?.state === "failed") return { state: "failed", words: `Given up. ${problemWords(fetched)}` };
  if (fetched?.state === "retrying") {
    return { state: "waiting", words: `${problemWords(fetched)} Next try in ${Math.ceil(fetched.retry_in_s ?? 0)} s.` };
  }
  if (view?.ended) return { state: "ended", words: `${endText(view.ended)}.` };
  if (view?.verdict || fetched?.state === "receiving") return { state: "live", words: "Live" };
  const isConnecting = fetched !== undefined && fetched.source !== "rtp";
  return { state: "waiting", words: isConnecting ? "Connecting…" : "Waiting for the first frame…" };
}

/** @param {FetchedSource} fetched @returns {string} */
function problemWords({ problem }) {
  return problem ? `${sentence(problem.message.replace(/[.\s]*$/, ""))}.` : "";
}

/** @param {FetchedSource} fetched @returns {OwnSource} */
export function entryOf(fetched) {
  return { stream: fetched.stream, kind: sourceText(fetched.source), hint: fetched.host };
}
