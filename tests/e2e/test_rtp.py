"""Plain RTP from FFmpeg, as an SFU forwards it, against the real service."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.api.rig import Rig, running_rig
from tests.e2e.whip_support import SAMPLE, transcode, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 8


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig() as running:
        yield running


def remuxed(source: Path, target: Path) -> Path:
    """The same packets in another container."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        stream: Any = out.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_forwarded_rtp_is_judged(rig: Rig, codec: str, tmp_path: Path) -> None:
    fast = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    if codec == "h264":
        clip = remuxed(SAMPLE, tmp_path / "call.ts")
    else:
        clip = transcode(tmp_path / "call.webm", "libvpx", SECONDS, **fast)
    stream = f"sfu-{codec}"
    order = {"stream": stream, "call_id": "room", "participant_id": "ann", "rtp": {"codec": codec}}
    with rig.client() as client:
        started = client.post("/v1/streams", json=order)
        assert started.status_code == 201, started.text
        assert client.get(started.headers["location"]).status_code == 404       # no frame yet
        port = str(started.json()["rtp"]["port"])
        command = [sys.executable, "-m", "tests.e2e.rtp_forwarder", port, str(clip), str(SECONDS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarder:
            try:
                info = wait_for(client, stream, lambda info: (info["verdict"] or {"samples": 0})["samples"] >= 6)
                sent, _ = forwarder.communicate(timeout=60)
            finally:
                forwarder.kill()
        frames = wait_for(client, stream, lambda info: info["frames"]["received"] >= int(sent) - 5)["frames"]
        assert (info["source"], info["call_id"], info["participant_id"]) == ("rtp", "room", "ann")
        assert len(info["verdict"]["faces"]) == 1
        assert info["verdict"]["coverage"] > 0.8
        assert frames["dropped"] == {}
        assert client.delete(started.headers["location"]).status_code == 204
        wait_for(client, stream, lambda info: info["state"] == "ended")
        assert stream not in rig.context.sources
