"""Evidence buffer: the last minute of one stream, from which an alarm's evidence is taken.

No I/O; bounded by time and count.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from stream.incident_case import AlarmOver, IncidentCase, Rules, is_alarming
from stream.types import CloseReason

if TYPE_CHECKING:
    from stream.config import StreamConfig
    from stream.cusum import EvidenceModel
    from stream.events import Verdict
    from stream.incident_case import Origin
    from stream.types import Observation

KEEP_S = 60.0
CHECKPOINT_EVERY_S = 10.0
PER_TRACK, PICTURED = 3, 8


class EvidenceBuffer:
    """Recent samples, verdicts and pictures of a stream.

    Overflow policies: samples and verdicts expire with age. Of the pictures, the most suspicious `PER_TRACK` of each
    face stay, `PICTURED` in all.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: deque[Observation] = deque()
        self._pictured: list[Observation] = []
        self._checkpoints: deque[Verdict] = deque()
        self._began = True      # whether `_samples` still hold the first sample of the epoch

    def add(self, observation: Observation) -> None:
        """Adds the next sample."""
        self._samples.append(_without_pictures(observation))
        if observation.pictures is not None:
            self._pictured.append(msgspec.structs.replace(observation, preview_jpeg=None))
        self._pictured = _most_suspicious([p for p in self._pictured if p.pts_s >= observation.pts_s - KEEP_S])

    def add_verdict(self, verdict: Verdict) -> None:
        """Adds the next verdict, and drops what a replay up to it does not need."""
        if not self._checkpoints or verdict.end_s - self._checkpoints[-1].end_s >= CHECKPOINT_EVERY_S:
            self._checkpoints.append(verdict)
        while len(self._checkpoints) > 1 and self._checkpoints[1].end_s <= verdict.end_s - KEEP_S:
            self._checkpoints.popleft()
            self._began = False
        if self._began:
            return
        needed_s = self._checkpoints[0].end_s - 2 * self._window_s
        while self._samples and self._samples[0].pts_s < needed_s:
            self._samples.popleft()

    def restore(self, verdict: Verdict) -> None:
        """Continues the stream after this verdict, which another process published."""
        self._checkpoints.append(verdict)
        self._began = False

    @property
    def base(self) -> Verdict | None:
        """The verdict that a replay of the samples starts from; None if it starts at the beginning of the epoch."""
        return None if self._began else self._checkpoints[0]

    @property
    def samples(self) -> tuple[Observation, ...]:
        return tuple(self._samples)

    @property
    def pictured(self) -> tuple[Observation, ...]:
        return tuple(self._pictured)


class AlarmWatch:
    """Follows one epoch of a stream and reports when its alarm opens and closes."""

    def __init__(self, origin: Origin, config: StreamConfig) -> None:
        self._origin = origin
        self._config = config
        self._buffer = EvidenceBuffer(config.windows.window_s)
        self._end_s = 0.0
        self._is_open = False

    def restore(self, verdict: Verdict) -> None:
        """Continues after this verdict, which another process published."""
        self._buffer.restore(verdict)
        self._is_open = is_alarming(verdict)

    def observe(self, observation: Observation) -> None:
        self._buffer.add(observation)

    def follow(self, verdict: Verdict, now_s: float, model: EvidenceModel | None) -> IncidentCase | AlarmOver | None:
        """Returns the alarm change that this verdict causes, or None. `now_s` is Unix time."""
        self._end_s = verdict.end_s
        change: IncidentCase | AlarmOver | None = None
        if verdict.alarm and not self._is_open and model is not None:
            self._is_open = True
            change = self._case(verdict, now_s, model)
        elif self._is_open and not is_alarming(verdict):
            change = self._closed(CloseReason.ALARM_OVER, now_s)
        self._buffer.add_verdict(verdict)
        return change

    def end(self, now_s: float) -> AlarmOver | None:
        """Ends the stream, and returns the close of its alarm if one is open."""
        return self._closed(CloseReason.STREAM_ENDED, now_s) if self._is_open else None

    def _case(self, verdict: Verdict, now_s: float, model: EvidenceModel) -> IncidentCase:
        return IncidentCase(
            origin=self._origin,
            opened_s=now_s,
            verdict=verdict,
            base=self._buffer.base,
            rules=Rules(windows=self._config.windows, decision=self._config.decision, evidence=model),
            samples=self._buffer.samples,
            pictured=self._buffer.pictured,
        )

    def _closed(self, reason: CloseReason, now_s: float) -> AlarmOver:
        self._is_open = False
        return AlarmOver(
            stream=self._origin.stream, epoch=self._origin.epoch, reason=reason, closed_s=now_s, end_s=self._end_s
        )


def _without_pictures(observation: Observation) -> Observation:
    """Removes pictures and heat maps, which the decision does not use."""
    faces = tuple(msgspec.structs.replace(face, heat_map=None) for face in observation.faces)
    return msgspec.structs.replace(observation, faces=faces, preview_jpeg=None, pictures=None)


def _most_suspicious(pictured: list[Observation]) -> list[Observation]:
    """Returns the most suspicious pictures, in order of time."""
    if len(pictured) <= PER_TRACK:
        return pictured
    kept: set[int] = set()
    for track in {face.track for seen in pictured for face in seen.faces}:
        ranked = sorted(range(len(pictured)), key=lambda n: _llr_of(pictured[n], track), reverse=True)
        kept.update(n for n in ranked[:PER_TRACK] if _is_pictured(pictured[n], track))
    best = sorted(kept, key=lambda n: max(face.llr or 0.0 for face in pictured[n].faces), reverse=True)[:PICTURED]
    return [pictured[n] for n in sorted(best)]


def _llr_of(observation: Observation, track: int) -> float:
    return max((face.llr for face in observation.faces if face.track == track and face.llr is not None), default=-1e9)


def _is_pictured(observation: Observation, track: int) -> bool:
    return observation.pictures is not None and track in {face.track for face in observation.pictures.faces}
