"""GStreamer's webrtcbin as a WHIP publisher: a third implementation of WebRTC, in a process of its own.

    /usr/bin/python3 tests/e2e/peers/gst_publisher.py URL FILE SECONDS [KEY]

Runs in the system's Python, which has GStreamer's bindings, and shares nothing with us. FILE is an MP4 of H.264 without
B-frames, sent as it is; SECONDS is how long, from the connection on.
"""

from __future__ import annotations

import sys
import threading
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402 - the versions come first

PIPELINE = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "filesrc location={file} ! qtdemux ! h264parse config-interval=-1 ! rtph264pay aggregate-mode=zero-latency "
    "! application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96 ! peer."
)
CONNECT_S = 20


class Publisher:
    def __init__(self, url: str, source: str, seconds: float, key: str = "") -> None:
        self.url = url
        self.authorization = {"Authorization": f"Bearer {key}"} if key else {}
        self.seconds = seconds
        self.session = ""
        self.status = 1
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(PIPELINE.format(file=source))
        self.peer = self.pipeline.get_by_name("peer")
        self.peer.connect("on-negotiation-needed", self.offer)
        self.peer.connect("notify::ice-gathering-state", self.gathered)
        self.peer.connect("notify::connection-state", self.changed)
        for transceiver in (self.peer.emit("get-transceiver", 0),):
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)

    def run(self) -> int:
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(CONNECT_S + int(self.seconds), self.loop.quit)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        if self.session:
            request = urllib.request.Request(self.session, headers=self.authorization, method="DELETE")
            urllib.request.urlopen(request, timeout=20).close()
        return self.status

    def offer(self, peer: object) -> None:
        def created(promise: Gst.Promise) -> None:
            reply = promise.get_reply()     # the offer lives as long as this does
            self.peer.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())

        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(created))

    def gathered(self, peer: object, _: object) -> None:
        if self.peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            threading.Thread(target=self.post, daemon=True).start()

    def post(self) -> None:
        offer = self.peer.get_property("local-description").sdp.as_text()
        headers = {"Content-Type": "application/sdp"} | self.authorization
        request = urllib.request.Request(self.url, data=offer.encode(), headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=20) as reply:
            self.session = urllib.request.urljoin(self.url, reply.headers["Location"])
            answer = reply.read().decode()
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        described = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", described, Gst.Promise.new())

    def changed(self, peer: object, _: object) -> None:
        if self.peer.get_property("connection-state") == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            self.status = 0
            GLib.timeout_add(int(self.seconds * 1000), self.loop.quit)


if __name__ == "__main__":
    Gst.init(None)
    sys.exit(Publisher(sys.argv[1], sys.argv[2], float(sys.argv[3]), *sys.argv[4:5]).run())
