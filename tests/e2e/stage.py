"""A real service with made-up verdicts, for tests of the wall.

Events go through the service's bus, WebSocket and page; a stream that was `shown` a picture is a real stream, whose
picture was decoded by a worker and comes over HTTP.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import av
import cv2

from stream.events import (
    Decision,
    FaceVerdict,
    Label,
    Reason,
    StreamEnded,
    StreamStalled,
    StreamStarted,
    TrackSums,
    Verdict,
)
from stream.identity import StreamIdentity
from stream.stream_session import StreamSpec
from stream.types import Codec, EndReason, FrameCounts, Quality
from tests.api.calls import Peer, admitted
from tests.e2e.browser_support import SAMPLE_CALL

if TYPE_CHECKING:
    from stream.events import Event
    from stream.stream_session import Session
    from tests.api.rig import Rig

HOP_S = 0.5
LIMIT, CLEAR_BOUND = 6.0, -4.0
FACE = (0.418, 0.2, 0.17, 0.4)      # where the sample call has it
QUALITY = Quality(face_px=110.0, sharpness=60.0, luminance=120.0, weight=1.0)


@dataclass(frozen=True)
class Line:
    """The content of a stream's next verdict; `level` is the share of the alarm limit."""

    label: Label = Label.UNCERTAIN
    reason: Reason = Reason.MONITORING
    prob: float | None = 0.3
    level: float = 0.1
    coverage: float = 1.0
    box: tuple[float, float, float, float] = FACE

    @property
    def alarm(self) -> bool:
        return self.label is Label.FAKE


REAL = Line(Label.REAL, Reason.EVIDENCE_REAL, 0.04, 0.0)
FAKE = Line(Label.FAKE, Reason.EVIDENCE_FAKE, 0.97, 1.0)
SUSPECT = Line(reason=Reason.SUSPECT, prob=0.74, level=0.6)
NO_FACE = Line(Label.NO_FACE, Reason.NO_FACE, None, 0.0)


@dataclass
class Actor:
    """One stream of the stage."""

    name: str
    epoch: int = 1
    call_id: str = ""
    participant_id: str = ""
    sequence: int = 0
    session: Session | None = field(default=None, repr=False)

    def started(self, source: str = "whip", sample: bool = False) -> StreamStarted:
        return StreamStarted(
            stream=self.name, epoch=self.epoch, source=source, started_s=time.time(), sample=sample,
            call_id=self.call_id, participant_id=self.participant_id,
        )

    def verdict(self, line: Line) -> Verdict:
        """The next one."""
        self.sequence += 1
        end_s = self.sequence * HOP_S
        faces = () if line.prob is None else (_face(line),)
        return Verdict(
            id=f"{self.name}/{self.epoch}/{self.sequence}", stream=self.name, epoch=self.epoch, sequence=self.sequence,
            start_s=max(0.0, end_s - 4), end_s=end_s, samples=8, wanted=8, coverage=line.coverage, rate_hz=2.0,
            label=line.label, reason=line.reason, prob_fake=line.prob, llr=None, faces=faces,
            frames=FrameCounts(received=self.sequence * 15), age_ms=74.0, model=None, alarm=line.alarm,
            decision=_decision(line, end_s),
        )


def _face(line: Line) -> FaceVerdict:
    return FaceVerdict(
        track=1, box=line.box, label=line.label, reason=line.reason, samples=8, prob_fake=line.prob, llr=0.0,
        frequency_score=0.4, quality=QUALITY, suspicion=line.level, alarm=line.alarm,
    )


def _decision(line: Line, pts_s: float) -> Decision:
    sums = TrackSums(
        track=1,
        pts_s=pts_s,
        statistic=line.level * LIMIT,
        log_ratio=0.0,
        effective_samples=8,
        alarm=line.alarm,
        cleared=False,
    )
    return Decision(limit=LIMIT, clear_bound=CLEAR_BOUND, tracks=(sums,))


@dataclass
class Stage:
    """Publishes the scripted verdicts in the service's event loop."""

    rig: Rig
    actors: dict[str, Actor] = field(default_factory=dict)

    def enter(self, name: str, call_id: str = "", participant_id: str = "") -> Actor:
        """A stream that nothing but events is known of."""
        actor = self.actors[name] = Actor(name, call_id=call_id, participant_id=participant_id)
        self.publish(actor.started())
        return actor

    def enter_shown(self, name: str, jpeg: bytes, call_id: str = "", participant_id: str = "") -> Actor:
        """A stream of the service, of which a worker has seen this one picture; returns when it can be fetched."""
        spec = StreamSpec(
            identity=StreamIdentity(name, call_id, participant_id), source="whip", codec=Codec.JPEG
        )
        session = admitted(self.rig, spec, Peer()).session
        self.rig.call(session.feed, jpeg, 0.0, True, time.time())
        while self.rig.call(self.rig.context.service.preview, name) is None:
            time.sleep(0.05)
        actor = Actor(name, session.epoch, call_id, participant_id, session=session)
        self.actors[name] = actor
        return actor

    def say(self, name: str, line: Line, times: int = 1) -> None:
        for _ in range(times):
            self.publish(self.actors[name].verdict(line))

    def stall(self, name: str) -> None:
        self.publish(StreamStalled(stream=name, epoch=self.actors[name].epoch, silent_s=5.0, from_s=0.0))

    def leave(self, name: str) -> None:
        actor = self.actors[name]
        self.publish(StreamEnded(
            stream=name, epoch=actor.epoch, reason=EndReason.PUBLISHER_LEFT, message="", frames=FrameCounts()
        ))

    def publish(self, event: Event) -> None:
        self.rig.call(self.rig.context.bus.publish, event)


def sample_jpegs(count: int, every: int = 45) -> list[bytes]:
    """Frames of the sample call, so many apart."""
    with av.open(str(SAMPLE_CALL)) as clip:
        frames = list(islice(clip.decode(video=0), 0, count * every, every))
    return [bytes(cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1]) for frame in frames]


def nudged(line: Line, prob: float, level: float) -> Line:
    """The same, with another score."""
    return replace(line, prob=prob, level=level)


