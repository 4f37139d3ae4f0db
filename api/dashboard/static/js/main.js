/** Entry point: connects the WebSocket, the store, the wall and the tools. */

import { CallPage } from "./call_page.js";
import { byId, bringTo, setText } from "./dom.js";
import { apiKey, keyRefused, requestJson } from "./http.js";
import { AlarmAttention } from "./alarm_attention.js";
import { AlarmPanel } from "./alarm_list.js";
import { IncidentPage } from "./incident_page.js";
import { Router } from "./router.js";
import { ConnectionNotice, HealthNotice, KeyDialog, showWhipAddress } from "./status.js";
import { SourcePanel } from "./sources.js";
import { Store } from "./store.js";
import { UploadPanel } from "./upload.js";
import { Wall } from "./wall.js";
import { WebcamPanel } from "./webcam.js";
import { LiveClient } from "./ws.js";

const TICK_MS = 1_000;
const ALARMS_MS = 30_000;      // alarms of other processes are not told of here

const store = new Store();
const wall = new Wall();
const health = new HealthNotice();
const keyDialog = new KeyDialog(() => client.restart());
const askKey = () => keyDialog.open();
const notice = new ConnectionNotice(() => client.retryNow());
const attention = new AlarmAttention({ onOpen: (id) => void alarms.open(id) });
const alarms = new AlarmPanel({
  onDecided: () => {
    call.reload();
    incidents.reload();
  },
  onLoaded: (incidents, more) => {
    attention.show(incidents, more);
    store.dispatch({ type: "alarms", incidents });
  },
});
const call = new CallPage({ onLook: (incident) => alarms.open(incident), onKey: () => keyDialog.open() });
const incidents = new IncidentPage({ onLook: (incident) => void alarms.open(incident), onReviewed: () => alarms.refresh() });
const router = new Router((route) => {
  call.show(route);
  incidents.show(route);
});
const sources = new SourcePanel({ onRefused: askKey });
const uploads = new UploadPanel({ onRefused: askKey });
const webcam = new WebcamPanel({
  onStart: (stream) => wall.addMine(stream),
  onShow: (stream) => wall.focus(stream),
  onRefused: askKey,
});

const client = new LiveClient(new URL("ws", document.baseURI).href.replace(/^http/, "ws"), {
  key: apiKey,
  refused: () => keyRefused(apiKey()),
  onEvent: (event) => {
    store.dispatch({ type: "event", event, nowMs: Date.now() });
    call.event(event);
    if (event.type === "stream.ended") webcam.ended(event);
    if (event.type === "incident.opened" || event.type === "incident.closed") alarms.refresh();
  },
  onSnapshot: (events) => store.dispatch({ type: "snapshot", events, nowMs: Date.now() }),
  onState: (state, retryAtMs) => store.dispatch({ type: "connection", connection: { state, retryAtMs } }),
});

store.subscribe((state, before) => {
  wall.show(state);
  if (state.streams !== before.streams) {
    sources.show(state.streams);
    call.others(state.streams);
  }
  if (state.connection === before.connection) return;
  notice.show(state.connection, Date.now());
  if (state.connection.state !== before.connection.state) call.connection(state.connection.state);
  if (state.connection.state === "live" && before.connection.state !== "live") {
    health.check();
    alarms.refresh();
    incidents.reload();
    sources.refresh();
  }
  if (state.connection.state === "refused") askKey();
});

setInterval(() => {
  const nowMs = Date.now();
  store.dispatch({ type: "expire", nowMs });
  wall.tick(nowMs);
  notice.tick(nowMs);
}, TICK_MS);

setInterval(() => {
  if (store.state.connection.state === "live") alarms.refresh();
}, ALARMS_MS);

byId("empty-webcam").addEventListener("click", () => {
  bringTo(byId("webcam"));
  webcam.start();
});

/** Loads the limits of the service. */
async function readLimits() {
  const limits = await requestJson("v1/limits", { cache: "no-store" });
  uploads.setLimits({ maxBytes: limits.max_upload_bytes, extensions: limits.upload_extensions });
  wall.setBand(limits.undecided ?? null);
  setText(byId("version"), `DeepGuard ${limits.version}`);
  sources.form.setKeyed(limits.auth_required);
  byId("key-button").hidden = !limits.auth_required;
  return Boolean(limits.auth_required);
}

router.show();
client.connect();
readLimits().then(showWhipAddress, () => showWhipAddress(false));
