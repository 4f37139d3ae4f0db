"""H.264 from a client that shares no WebRTC code with us: FFmpeg's WHIP muxer, in its own process, with a key."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.api.rig import Rig, running_rig
from tests.e2e.whip_support import SAMPLE, transcode, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "an-encoders-key-0123456789"
SECONDS = 6


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig(api_keys=(SecretStr(KEY),)) as running:
        yield running


@pytest.mark.parametrize("profile", ["constrained baseline", "high"])
def test_ffmpeg_publishes_and_is_judged(rig: Rig, profile: str, tmp_path: Path) -> None:
    clip = SAMPLE if profile != "high" else transcode(
        tmp_path / "high.mp4", "libx264", SECONDS, profile="high", preset="veryfast", bf="0"
    )
    stream = profile.replace(" ", "-")
    url = f"{rig.url}/whip/{stream}"
    command = [sys.executable, "-m", "tests.e2e.ffmpeg_publisher", url, str(clip), str(SECONDS), KEY]
    with rig.client(KEY) as client, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as publisher:
        try:
            info = wait_for(client, stream, lambda info: (info["verdict"] or {"samples": 0})["samples"] >= 6, 30)
            output, _ = publisher.communicate(timeout=30)
        finally:
            publisher.kill()
        ended = wait_for(client, stream, lambda info: info["state"] == "ended")
    assert publisher.returncode == 0
    assert info["source"] == "whip"
    assert not info["sample"]
    assert len(info["verdict"]["faces"]) == 1
    assert info["verdict"]["coverage"] > 0.8
    assert int(output) - ended["frames"]["received"] <= 5
    assert ended["frames"]["decoded"] == ended["frames"]["received"]
    assert rig.call(lambda: rig.context.peers.status.sessions) == 0


def test_without_the_key_it_is_turned_away(rig: Rig) -> None:
    command = [sys.executable, "-m", "tests.e2e.ffmpeg_publisher", f"{rig.url}/whip/locked", str(SAMPLE), "1"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    with rig.client(KEY) as client:
        assert client.get("/v1/streams/locked").status_code == 404
