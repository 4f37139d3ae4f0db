/** WHIP client (RFC 9725): publishes one video track. No DOM. */

import { authHeaders, request, urlOf } from "./http.js";

const GATHERING_MAX_MS = 1_500;
const HANG_UP_MAX_MS = 5_000;
const MAX_BITRATE_BPS = 1_200_000;

/**
 * A published call. `stop` never throws, and ends the session even if the page closes meanwhile.
 * @typedef {{stop: () => Promise<void>}} Publication
 */

/**
 * Offers the track and applies the service's answer. Throws ApiError if the service refuses.
 * @param {string} stream
 * @param {MediaStreamTrack} track
 * @param {(state: "connected"|"lost") => void} onState
 * @returns {Promise<Publication>}
 */
export async function publish(stream, track, onState) {
  const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  try {
    addTrack(peer, track);
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const response = await request(`whip/${encodeURIComponent(stream)}`, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription?.sdp ?? "",
    });
    const resource = new URL(response.headers.get("Location") ?? "", urlOf(`whip/${encodeURIComponent(stream)}`)).href;
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
    return publication(peer, resource, onState);
  } catch (error) {
    peer.close();
    throw error;
  }
}

/**
 * Requests three temporal layers, which let the receiver skip frames. Not every codec supports them.
 * @param {RTCPeerConnection} peer
 * @param {MediaStreamTrack} track
 */
function addTrack(peer, track) {
  const encoding = { maxBitrate: MAX_BITRATE_BPS, scalabilityMode: "L1T3" };
  try {
    peer.addTransceiver(track, { direction: "sendonly", sendEncodings: [encoding] });
  } catch {
    peer.addTransceiver(track, { direction: "sendonly", sendEncodings: [{ maxBitrate: MAX_BITRATE_BPS }] });
  }
}

/** @param {RTCPeerConnection} peer @returns {Promise<void>} when all candidates are gathered, or after a timeout */
function gathered(peer) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHERING_MAX_MS);
    const check = () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    };
    peer.addEventListener("icegatheringstatechange", check);
    check();
  });
}

/**
 * @param {RTCPeerConnection} peer
 * @param {string} resource
 * @param {(state: "connected"|"lost") => void} onState
 * @returns {Publication}
 */
function publication(peer, resource, onState) {
  let over = false;
  const watch = () => {
    if (peer.connectionState === "connected") onState("connected");
    if (over || (peer.connectionState !== "failed" && peer.connectionState !== "closed")) return;
    over = true;
    onState("lost");
  };
  // keepalive lets the DELETE outlive the page; the peer connection closes after it, so that the DELETE comes first
  const hangUp = () => {
    over = true;
    const ended = fetch(resource, { method: "DELETE", headers: authHeaders(), keepalive: true, signal: AbortSignal.timeout(HANG_UP_MAX_MS) });
    return ended.catch(() => undefined).finally(() => peer.close()); // a silent peer is noticed without it
  };
  peer.addEventListener("connectionstatechange", watch);
  watch();
  return { stop: async () => void (await hangUp()) };
}
