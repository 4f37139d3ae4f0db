"""Media that arrives and cannot be decoded: by counts alone, and through a session with a real worker."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from stream.config import StreamConfig
from stream.event_bus import EventBus, Selection
from stream.events import Label, Reason, StreamGap, Verdict
from stream.identity import StreamIdentity
from stream.stream_service import StreamService
from stream.stream_session import StreamSpec
from stream.types import Codec, DropCause, EndReason, FrameCounts
from stream.undecodable_media import UNDECODABLE_AFTER_S, UndecodableMedia
from stream.worker_pool import PoolConfig, WorkerPool
from tests.stream.test_stream_session import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.events import Event
    from stream.stream_session import Session

FPS = 20


def counts(decoded: int, **dropped: int) -> FrameCounts:
    return FrameCounts(decoded=decoded, dropped=dropped)


def test_media_is_undecodable_when_units_are_refused_for_a_while_and_none_is_decoded() -> None:
    media = UndecodableMedia()
    assert not media.update(counts(5, decode_error=1), 0.0)
    for n in range(5):
        assert not media.update(counts(5, decode_error=1, no_keyframe=10 * n), 0.5 * n)
    assert media.update(counts(5, decode_error=2, no_keyframe=70), 1.0 + UNDECODABLE_AFTER_S)
    assert media.cause is DropCause.DECODE_ERROR, "the later units wait for a key frame because of it"
    assert not media.update(counts(5, decode_error=2, no_keyframe=70), 9.0), "nothing arrives"
    assert not media.update(counts(6, decode_error=2, no_keyframe=80), 9.5)
    assert media.cause is None


def test_a_slow_decoder_and_other_drops_are_not_undecodable() -> None:
    media = UndecodableMedia()
    for n in range(20):
        assert not media.update(counts(0, queue_full=n, superseded=n, packet_loss=n), float(n))
    assert media.cause is None
    assert not media.is_whole(counts(0, queue_full=3))


def h264(frames: int, with_parameters: bool = True) -> Iterator[tuple[bytes, bool]]:
    """Yields access units with a key frame per second, and whether each is one."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 320, 240, "yuv420p", Fraction(1, FPS)
    encoder.options = {"tune": "zerolatency", "x264-params": f"keyint={FPS}:repeat-headers=1"}
    for number in range(frames):
        picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), number % 256, np.uint8), "rgb24")
        picture.pts = number
        for packet in encoder.encode(picture):
            units = [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")]
            kept = [unit for unit in units if unit and (with_parameters or unit[0] & 31 not in (7, 8))]
            yield b"".join(b"\0\0\0\1" + unit for unit in kept), packet.is_keyframe


async def play(session: Session, units: list[tuple[bytes, bool]], first: int = 0) -> None:
    began_s = time.monotonic()
    for n, (payload, keyframe) in enumerate(units):
        await asyncio.sleep(max(0.0, began_s + n / FPS - time.monotonic()))
        session.feed(payload, (first + n) / FPS, keyframe, time.time())


@pytest.mark.slow
async def test_a_call_without_parameter_sets_gets_a_gap_verdicts_and_a_problem_and_recovers() -> None:
    bus = EventBus()
    service = StreamService(StreamConfig(), WorkerPool(PoolConfig(workers=1)), bus)
    await service.start()
    subscription = bus.subscribe(Selection())
    session = service.open(StreamSpec(identity=StreamIdentity("call"), source="test", codec=Codec.H264), Peer())
    blind = list(h264(FPS * 6, with_parameters=False))
    await play(session, blind)
    assert session.problem is DropCause.DECODE_ERROR
    assert session.frames.decoded == 0
    seen = list(h264(FPS * 4))
    await play(session, seen, len(blind))
    assert session.problem is None
    await session.end(EndReason.STOPPED)
    await service.close()
    events: list[Event] = []
    async with asyncio.timeout(5):
        while not events or events[-1].__class__.__name__ != "StreamEnded":
            events.append((await subscription.next()).event)
    gaps = [event for event in events if isinstance(event, StreamGap)]
    verdicts = [event for event in events if isinstance(event, Verdict)]
    assert [gap.cause for gap in gaps] == ["decode_error"]
    without = [verdict for verdict in verdicts if verdict.reason is Reason.NO_FRAMES]
    assert len(without) >= 2
    assert {(verdict.label, verdict.coverage, verdict.alarm) for verdict in without} == {(Label.UNCERTAIN, 0.0, False)}
    assert [verdict.sequence for verdict in verdicts] == sorted({verdict.sequence for verdict in verdicts})
    assert verdicts[-1].reason is not Reason.NO_FRAMES
    assert all(verdict.coverage < 1 for verdict in verdicts if verdict.start_s < len(blind) / FPS - 0.5)


@pytest.mark.slow
async def test_a_short_call_of_which_nothing_was_decoded_ends_with_a_verdict_that_says_so() -> None:
    service = StreamService(StreamConfig(), WorkerPool(PoolConfig(workers=1)), EventBus())
    await service.start()
    session = service.open(StreamSpec(identity=StreamIdentity("call"), source="test", codec=Codec.H264), Peer())
    await play(session, list(h264(FPS, with_parameters=False)))
    await session.end(EndReason.STOPPED)
    await service.close()
    assert session.verdict is not None
    assert (session.verdict.reason, session.verdict.coverage) == (Reason.NO_FRAMES, 0.0)
