"""What is read of verdicts: when they came, and which frame they speak of."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bench.verdict_recorder import VerdictRecorder, newest_frame
from stream import event_encoding
from stream.config import StreamConfig
from stream.events import StreamEnded, Verdict
from stream.frame_sampler import Pace, Sampler, SamplingGrid, phase_of
from stream.rolling_verdicts import RollingVerdicts
from stream.types import EndReason, FrameCounts, Observation
from tests.stream.observations import moment


def verdicts(stream: str, epoch: int, frames: int, pace: Pace = Pace.BASE) -> list[tuple[Verdict, int]]:
    """The verdicts of a stream of 30 frames/s, each with the number of the newest frame that was sampled for it."""
    phase = phase_of(stream, epoch)
    sampler, monitor = Sampler(SamplingGrid(2.0, phase), pace), RollingVerdicts(stream, epoch, phase, StreamConfig())
    found = []
    for number in range(frames):
        cell = sampler.take(number / 30)
        if cell is None:
            continue
        seen = Observation(
            stream=stream, epoch=epoch, sequence=number, cell=cell, frame_number=number, pts_s=number / 30,
            capture_s=1000.0, width_px=640, height_px=360, faces=(), pace=pace,
        )
        found += [(verdict, number) for verdict in monitor.observe(seen, moment())]
    return found


@given(st.text("abc-0", min_size=1, max_size=8), st.integers(1, 2**31))
def test_the_newest_frame_is_the_last_sampled_one(stream: str, epoch: int) -> None:
    known = verdicts(stream, epoch, 300)
    assert len(known) >= 18
    assert [newest_frame(verdict) for verdict, _ in known] == [number for _, number in known]


def test_the_newest_frame_is_unknown_at_other_paces_or_with_missing_samples() -> None:
    assert all(newest_frame(verdict) is None for verdict, _ in verdicts("call", 7, 300, Pace.HALF))
    verdict = verdicts("call", 7, 300)[-1][0]
    assert newest_frame(msgspec.structs.replace(verdict, samples=verdict.wanted - 1)) is None


def test_verdicts_are_recorded_by_stream() -> None:
    watch = VerdictRecorder()
    verdict = verdicts("call", 7, 60)[0][0]
    ended = StreamEnded(stream="call", epoch=7, reason=EndReason.STOPPED, message="", frames=FrameCounts())
    watch.take('{"type":"hello","protocol":"deepguard.v1"}', 1.0)
    watch.take(f'{{"type":"event","offset":1,"event":{event_encoding.encode(verdict).decode()}}}', 2.0)
    watch.take(f'{{"type":"event","offset":2,"event":{event_encoding.encode(ended).decode()}}}', 3.0)
    (arrival,) = watch.streams["call"]
    assert (arrival.at_s, arrival.age_ms, arrival.frames) == (2.0, verdict.age_ms, verdict.frames)
    assert watch.ended == {"call"}


def test_an_invalid_message_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        VerdictRecorder().take("{", 1.0)
