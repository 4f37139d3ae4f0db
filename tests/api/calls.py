"""A call that a test feeds by hand, a still picture at a time, into a running service."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import ServiceFull, StreamUnknown
from stream.events import Label, Reason, StreamStarted, Verdict
from stream.identity import StreamIdentity
from stream.stream_session import StreamSpec
from stream.types import Codec, EndReason, FrameCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.stream_session import Session
    from tests.api.rig import Rig

ADMITTED_S = 20.0
PORTRAIT = (Path(__file__).resolve().parents[1] / "media" / "biden.jpg").read_bytes()


class Peer:
    """A source that counts what it is asked for."""

    def __init__(self) -> None:
        self.closed = 0

    def request_keyframe(self) -> None:
        """Stills need none."""

    async def close(self) -> None:
        self.closed += 1


@dataclass
class Call:
    """One stream of the service under test."""

    rig: Rig
    session: Session
    peer: Peer
    fed_s: float = field(default=0.0)

    def feed(self, seconds: float, rate_hz: float = 2.0) -> None:
        """So much media, at once."""
        for _ in range(round(seconds * rate_hz)):
            self.rig.call(self.session.feed, PORTRAIT, self.fed_s, True, time.time())
            self.fed_s += 1 / rate_hz


@contextmanager
def running_call(rig: Rig, stream: str) -> Iterator[Call]:
    spec = StreamSpec(identity=StreamIdentity(stream, "a-call", "somebody"), source="test", codec=Codec.JPEG)
    call = admitted(rig, spec, Peer())
    try:
        yield call
    finally:
        with suppress(StreamUnknown):
            rig.run(rig.context.service.stop(stream, EndReason.STOPPED))


def admitted(rig: Rig, spec: StreamSpec, peer: Peer) -> Call:
    """A service that was overfed just now may want a moment."""
    end_s = time.monotonic() + ADMITTED_S
    while True:
        try:
            return Call(rig, rig.call(rig.context.service.open, spec, peer), peer)
        except ServiceFull:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.2)


def started(stream: str, epoch: int = 1, call_id: str = "") -> StreamStarted:
    return StreamStarted(stream=stream, epoch=epoch, source="test", started_s=1000.0, call_id=call_id)


def said(stream: str, sequence: int, label: Label = Label.UNCERTAIN, reason: Reason = Reason.BETWEEN_BOUNDS) -> Verdict:
    """Returns a made-up verdict, for tests of event delivery."""
    return Verdict(
        id=f"{stream}/1/{sequence}", stream=stream, epoch=1, sequence=sequence, start_s=0.0, end_s=4.0, samples=8,
        wanted=8, coverage=1.0, rate_hz=2.0, label=label, reason=reason, prob_fake=0.5, llr=0.0, faces=(),
        frames=FrameCounts(), age_ms=1.0, model=None,
    )
