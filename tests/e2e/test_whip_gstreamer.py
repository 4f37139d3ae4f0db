"""H.264 from GStreamer's webrtcbin (libnice, GnuTLS or OpenSSL, libsrtp): neither aiortc's code nor a browser's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.api.rig import Rig, running_rig
from tests.e2e.whip_support import SAMPLE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLISHER = Path(__file__).with_name("gst_publisher.py")
SYSTEM_PYTHON = "/usr/bin/python3"
SECONDS = 20
SAMPLES = 30        # of the 40 that 20 s have


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig() as running:
        yield running


def test_gstreamer_publishes_and_is_judged(rig: Rig) -> None:
    command = [SYSTEM_PYTHON, str(PUBLISHER), f"{rig.url}/whip/gst?call_id=studio", str(SAMPLE), str(SECONDS)]
    with rig.client() as client, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as publisher:
        try:
            info = wait_for(client, "gst", lambda info: (info["verdict"] or {"samples": 0})["samples"] >= 6)
            _, said = publisher.communicate(timeout=90)
        finally:
            publisher.kill()
        ended = wait_for(client, "gst", lambda info: info["state"] == "ended")
    assert publisher.returncode == 0, said
    assert (info["source"], info["call_id"]) == ("whip", "studio")
    assert len(info["verdict"]["faces"]) == 1
    assert info["verdict"]["coverage"] > 0.8
    assert ended["frames"]["sampled"] >= SAMPLES
    assert ended["frames"]["dropped"] == {}
    assert rig.call(lambda: rig.context.peers.status.sessions) == 0
