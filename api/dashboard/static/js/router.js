/**
 * URL routes: the wall; one call as `#/calls/<stream>`, optionally with `?epoch=<number>`; the incidents as `#/incidents`, with
 * one of them open as `#/incidents/<id>`. Other fragments (`#webcam`) are positions on the wall. Only `Router` touches the
 * document.
 *
 * @typedef {{page: "wall"} | {page: "call", stream: string, epoch: number|null}
 *   | {page: "incidents", incident: string}} Route  `incident` is "" for the list alone
 */

const CALLS = "#/calls/";
const INCIDENTS = "#/incidents";

/** @param {string} stream @param {number|null} [epoch] @returns {string} the address of a call's page */
export function callHref(stream, epoch = null) {
  return `${CALLS}${encodeURIComponent(stream)}${epoch === null ? "" : `?epoch=${epoch}`}`;
}

/** @param {string} incident @returns {string} the address of an incident */
export function incidentHref(incident) {
  return `${INCIDENTS}/${encodeURIComponent(incident)}`;
}

/** @param {string} hash @returns {Route} */
export function routeOf(hash) {
  if (hash === INCIDENTS || hash.startsWith(`${INCIDENTS}/`)) {
    return { page: "incidents", incident: decoded(hash.slice(INCIDENTS.length + 1)) };
  }
  if (!hash.startsWith(CALLS)) return { page: "wall" };
  const [name, query] = hash.slice(CALLS.length).split("?", 2);
  const stream = decoded(name);
  if (!stream) return { page: "wall" };
  const epoch = Number(new URLSearchParams(query ?? "").get("epoch") ?? NaN);
  return { page: "call", stream, epoch: Number.isSafeInteger(epoch) ? epoch : null };
}

/** @param {string} name @returns {string} "" for what is no encoded name */
function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return "";
  }
}

/** Calls `onRoute` at start and after each change of the URL. */
export class Router {
  /** @param {(route: Route) => void} onRoute */
  constructor(onRoute) {
    this.onRoute = onRoute;
    addEventListener("hashchange", () => this.show());
  }

  show() {
    this.onRoute(routeOf(location.hash));
  }
}
