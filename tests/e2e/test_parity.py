"""One clip, sent as a call and as a file: its face gets the same evidence.

The probabilities differ by design, since that of a call is of four seconds and that of a file of all of it; what one
sample says in the mean must not.
"""

from __future__ import annotations

import time
from statistics import mean
from typing import TYPE_CHECKING

import av
import pytest

from stream.config import DecisionConfig
from stream.sprt import effective_samples
from tests.api.rig import running_rig
from tests.e2e.test_whip_aiortc import published
from tests.e2e.whip_support import SAMPLE

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

SECONDS = 14.0
# In nats per sample, which spread by .33 and resemble their neighbours. Every way samples other frames of the same
# seconds, and some code the picture anew. Pictures squeezed to another shape are .7 off, gray ones .4; red for blue is
# only .17, which the tests of the decoders see.
TOLERANCE = 0.25
CORRELATION = DecisionConfig().correlation


def cut(target: Path) -> Path:
    """The first seconds of the sample call, with its packets as they are."""
    with av.open(str(SAMPLE)) as source, av.open(str(target), "w") as out:
        video = source.streams.video[0]
        copy = out.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None and packet.dts * packet.time_base < SECONDS:
                packet.stream = copy
                out.mux(packet)
    return target


def per_sample(llr: float, samples: int) -> float:
    """The mean evidence of the samples that this sum is of."""
    return llr / effective_samples(samples, CORRELATION)


def live_evidence(client: httpx.Client, stream: str) -> list[float]:
    """Per sample, of all full windows of the clip's first playing."""
    evidence: dict[int, float] = {}
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        answer = client.get(f"/v1/streams/{stream}")
        verdict = answer.json()["verdict"] if answer.status_code == 200 else None
        if verdict is not None and verdict["end_s"] > SECONDS:
            break
        if verdict is not None and verdict["end_s"] - verdict["start_s"] > 3.9:
            assert verdict["coverage"] > 0.8
            (face,) = verdict["faces"]
            evidence[verdict["sequence"]] = per_sample(face["llr"], face["samples"])
        time.sleep(0.05)
    return list(evidence.values())


def test_a_call_and_a_file_of_the_same_pictures_agree(tmp_path: Path) -> None:
    clip = cut(tmp_path / "clip.mp4")
    with running_rig() as rig, rig.client() as client:
        answer = client.post("/predict", files={"file": ("clip.mp4", clip.read_bytes(), "video/mp4")})
        assert answer.status_code == 200, answer.text
        with published(f"{rig.url}/whip/parity", clip):
            live = live_evidence(client, "parity")
    (face,) = answer.json()["faces"]
    assert len(live) > 10
    assert mean(live) == pytest.approx(per_sample(face["llr"], face["samples"]), abs=TOLERANCE)
