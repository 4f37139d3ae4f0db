"""Runs all third-party publishers at once against one service and records the state of each stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from playwright.sync_api import sync_playwright

from tests.e2e.browser_support import ROOT, SAMPLE_CALL, make_camera_clip, running_chromium
from tests.e2e.peers.janus_room import ROOM, running_janus
from tests.e2e.peers.livekit_room import API_KEY, API_SECRET, running_livekit
from tests.e2e.whip_support import transcode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.api.rig import Rig
    from tests.e2e.peers.livekit_room import LiveKit

KEY = "a-key-that-peers-are-given-0123456789"
JUDGED_S = 20.0
GOOD_WINDOWS = 8        # of the 13 that 20 s have at the slowest but one pace
TOGETHER_S = 240.0
CLIP_S = 10
FILE_S = 40
FAST_VP8 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
SYSTEM_PYTHON = "/usr/bin/python3"      # has GStreamer's bindings
PEERS = ROOT / "tests" / "e2e" / "peers"
CHROMIUM = {"chromium-vp8": "video/VP8", "chromium-h264": "video/H264"}


@dataclass
class Child:
    """A publisher's process, started again when it was turned away or is through; its output goes to a file."""

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def tend(self) -> Self:
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log,
                    env={**os.environ, **self.environment},
                )
            assert self.process.stdin is not None
            self.process.stdin.write(f"{KEY}\n".encode())
            self.process.stdin.close()
        return self

    def end(self) -> None:
        """As its user would end it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Calls:
    """`seen` has every verdict of every stream, by stream and the verdict's id."""

    rig: Rig
    client: httpx.Client
    folder: Path
    livekit: LiveKit
    children: dict[str, Child]
    chromium_has: list[str]
    seen: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    infos: dict[str, dict[str, Any]] = field(default_factory=dict)

    def look(self) -> None:
        for info in self.client.get("/v1/streams").json()["streams"]:
            self.infos[info["stream"]] = info
            if info["verdict"] is not None:
                self.seen.setdefault(info["stream"], {})[info["verdict"]["id"]] = info["verdict"]

    def judged_s(self, stream: str) -> float:
        """How much of its media the verdicts cover."""
        return max((verdict["end_s"] for verdict in self.seen.get(stream, {}).values()), default=0.0)

    def good_windows(self, stream: str) -> list[dict[str, Any]]:
        """Those that are full, of nearly all samples that were wanted, and of one face that has a score."""
        return [
            verdict for verdict in self.seen.get(stream, {}).values()
            if verdict["end_s"] - verdict["start_s"] > 3.9 and verdict["coverage"] >= 0.8
            and [face["prob_fake"] is not None for face in verdict["faces"]] == [True]
        ]

    def is_judged(self, stream: str) -> bool:
        return self.judged_s(stream) >= JUDGED_S and len(self.good_windows(stream)) >= GOOD_WINDOWS

    def wait_for_all(self, streams: set[str]) -> None:
        """Waits until each stream has a verdict; fails with the publishers' output after a timeout."""
        end_s = time.monotonic() + TOGETHER_S
        while late := {name for name in streams if not self.is_judged(name)}:
            if time.monotonic() > end_s:
                told = {name: (self.infos.get(name), self.said(name)) for name in late}
                raise AssertionError(f"not judged for {JUDGED_S} s: {told}")
            for name in late & self.children.keys():
                self.children[name].tend()
            self.look()
            time.sleep(0.1)

    def said(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace")[-1500:] if log.exists() else ""


def streams_of(calls: Calls) -> set[str]:
    """All streams that must get verdicts."""
    chromium = {name for name, codec in CHROMIUM.items() if codec in calls.chromium_has}
    return {"ffmpeg", "gstreamer", "libwebrtc", "janus", "same-clip", "room.ann", "room.bob"} | chromium


@contextmanager
def everybody(rig: Rig, folder: Path) -> Iterator[Calls]:
    """All of them on air, with the servers that they need."""
    vp8 = transcode(folder / "call.webm", "libvpx", CLIP_S, **FAST_VP8)
    high = transcode(folder / "high.mp4", "libx264", FILE_S, profile="high", preset="ultrafast", bf="0")
    with ExitStack() as stack:
        client = stack.enter_context(rig.client(KEY))
        janus = stack.enter_context(running_janus(folder / "janus"))
        livekit = stack.enter_context(running_livekit(folder))
        commands = _commands(rig.url, livekit.url, vp8, high) | _janus(client, janus, vp8)
        secrets = {"LIVEKIT_API_KEY": API_KEY, "LIVEKIT_API_SECRET": API_SECRET}
        children = {name: Child(command, folder / f"{name}.log", secrets) for name, command in commands.items()}
        for child in children.values():
            stack.callback(child.end)
            child.tend()
        has = stack.enter_context(_chromium(rig, folder))
        yield Calls(rig, client, folder, livekit, children, has)


def _commands(service: str, livekit: str, vp8: Path, high: Path) -> dict[str, list[str]]:
    whip = f"{service}/whip"
    python = [sys.executable, "-m"]
    return {
        "ffmpeg": [*python, "tests.e2e.peers.ffmpeg_publisher", f"{whip}/ffmpeg", str(high), str(FILE_S), KEY],
        "gstreamer": [
            SYSTEM_PYTHON, str(PEERS / "gst_publisher.py"), f"{whip}/gstreamer?call_id=studio", str(SAMPLE_CALL),
            str(FILE_S), KEY,
        ],
        "libwebrtc": [*python, "tests.e2e.peers.libwebrtc_publisher", f"{whip}/libwebrtc", str(vp8)],
        "same-clip": [*python, "api.cli", "publish", str(vp8), f"{whip}/same-clip", "--key-stdin"],
        "livekit": [
            *python, "api.cli", "livekit", "--url", livekit, "--room", "room", "--to", service, "--key-stdin",
        ],
        **{
            name: [*python, "tests.e2e.peers.livekit_publisher", livekit, "room", name, str(vp8)]
            for name in ("ann", "bob")
        },
    }


def _janus(client: httpx.Client, janus: str, clip: Path) -> dict[str, list[str]]:
    order = {"stream": "janus", "call_id": "sfu", "participant_id": "ann", "rtp": {"codec": "vp8"}}
    port = str(client.post("/v1/streams", json=order).raise_for_status().json()["rtp"]["port"])
    command = [sys.executable, "-m", "tests.e2e.peers.janus_publisher", janus, str(ROOM), str(clip), port]
    return {"janus": command}


@contextmanager
def _chromium(rig: Rig, folder: Path) -> Iterator[list[str]]:
    """The browser's camera on air in every codec that it has of those we take; which."""
    make_camera_clip(SAMPLE_CALL, folder / "camera.mjpeg")
    script = (PEERS / "chromium_publisher.js").read_text()
    with sync_playwright() as playwright, running_chromium(playwright, folder / "camera.mjpeg") as browser:
        page = browser.new_page(bypass_csp=True)
        page.goto(rig.url + "/livez")       # of the service's origin; its policy alone would forbid scripts
        has = []
        for name, codec in CHROMIUM.items():
            order = {"url": f"{rig.url}/whip/{name}", "key": KEY, "codec": codec}
            if page.evaluate(script, order) is None:
                has.append(codec)
        yield has
