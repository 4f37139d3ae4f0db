"""Rolling verdicts: turns one stream's observations into verdicts. No clock, no I/O.

The probability of a verdict is that of its window. The label follows from the evidence since the face was first seen.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stream.events import FaceVerdict, Label, Reason, Verdict
from stream.face_verdicts import judge_faces, unscored_reason, withheld
from stream.frame_sampler import Pace, SamplingGrid, rate_hz_of, wanted_at_or_before
from stream.label_decision import LabelDecider
from stream.verdict_windows import VerdictWindow, VerdictWindowCutter

if TYPE_CHECKING:
    from stream.config import StreamConfig
    from stream.cusum import EvidenceModel
    from stream.types import FrameCounts, ModelRef, Observation


class ObservationContext(NamedTuple):
    """Context of an observation: Unix time, counts so far, the model that scored, and its evidence model (None: no
    model)."""

    now_s: float
    counts: FrameCounts
    model: ModelRef | None
    evidence: EvidenceModel | None


class RollingVerdicts:
    """Holds the last window of one epoch of one stream."""

    def __init__(self, stream: str, epoch: int, phase: float, config: StreamConfig) -> None:
        self._stream = stream
        self._epoch = epoch
        self._config = config
        self._grid = SamplingGrid(config.windows.sample_rate_hz, phase)
        self._cutter = VerdictWindowCutter(config.windows, self._grid)
        self._recent: deque[Observation] = deque()
        self._decider = LabelDecider(config.decision, rate_hz_of(Pace.FAST, config.windows.sample_rate_hz))
        self._decided_s = 0.0       # the sums already include earlier observations
        self._unseen_cell: float = -math.inf    # newest cell that passed without a picture

    def restore(self, verdict: Verdict) -> None:
        """Continues after this verdict of the same epoch. The caller passes the observations of its window again."""
        self._cutter.continue_after(verdict.sequence)
        self._decided_s = verdict.end_s
        if verdict.decision is not None:
            self._decider.restore(verdict.decision)

    def observe(self, observation: Observation, context: ObservationContext) -> tuple[Verdict, ...]:
        """Returns the verdicts that this observation completes. Ignores an observation that is not newer than the
        last."""
        if observation.cell <= self._newest_cell:
            return ()
        self._recent.append(observation)
        if context.evidence is not None and self._grid.start_s(observation.cell) >= self._decided_s:
            self._decider.observe(observation, context.evidence)
        windows = self._cutter.completed_by(observation.cell, observation.pace)
        verdicts = tuple(self._judge(window, context) for window in windows)
        self._forget()
        return verdicts

    def pass_unseen(self, until_s: float, context: ObservationContext) -> tuple[Verdict, ...]:
        """Returns the verdicts of media up to `until_s` of which no picture could be decoded.

        Only for media that follows the last observation. Later observations of that time are ignored.
        """
        pace = self._recent[-1].pace if self._recent else Pace.BASE
        cell = wanted_at_or_before(self._grid.cell_at(until_s), pace)
        if cell <= self._newest_cell:
            return ()
        self._unseen_cell = cell
        verdicts = tuple(self._judge(window, context) for window in self._cutter.completed_by(cell, pace))
        self._forget()
        return verdicts

    def finish(self, context: ObservationContext) -> tuple[Verdict, ...]:
        """Returns the remaining verdicts at the end of the stream."""
        window = self._cutter.remainder()
        return () if window is None else (self._judge(window, context),)

    @property
    def _newest_cell(self) -> float:
        """The newest cell that was observed or passed without a picture; minus infinity before the first."""
        seen = self._recent[-1].cell if self._recent else -math.inf
        return max(seen, self._unseen_cell)

    def _forget(self) -> None:
        needed_s = self._cutter.oldest_needed_s
        while len(self._recent) > 1 and self._grid.start_s(self._recent[0].cell) < needed_s:
            self._recent.popleft()

    def _judge(self, window: VerdictWindow, context: ObservationContext) -> Verdict:
        inside = [o for o in self._recent if window.holds(self._grid.start_s(o.cell))]
        scored = sum(1 for o in inside if not o.unscored)
        coverage = min(1.0, scored / window.wanted) if window.wanted else 0.0
        decision = self._config.decision
        windowed = judge_faces([(o.faces, o.unscored) for o in inside], decision, decision.min_samples)
        faces = self._decide(windowed, context)
        label, reason = self._label(faces, inside, coverage)
        worst = faces[0] if faces else None
        return Verdict(
            id=f"{self._stream}/{self._epoch}/{window.sequence}",
            stream=self._stream,
            epoch=self._epoch,
            sequence=window.sequence,
            start_s=window.start_s,
            end_s=window.end_s,
            samples=len(inside),
            wanted=window.wanted,
            coverage=coverage,
            rate_hz=rate_hz_of(self._pace(inside), self._config.windows.sample_rate_hz),
            label=label,
            reason=reason,
            prob_fake=worst.prob_fake if worst else None,
            llr=worst.llr if worst else None,
            faces=faces,
            frames=context.counts,
            age_ms=self._age_ms(inside, context),
            model=context.model,
            alarm=label is Label.FAKE,
            decision=self._decider.snapshot(context.evidence) if context.evidence is not None else None,
        )

    def _decide(self, faces: tuple[FaceVerdict, ...], context: ObservationContext) -> tuple[FaceVerdict, ...]:
        """Returns the faces with their decisions, most suspicious first."""
        if context.model is not None and not context.model.calibrated:
            return withheld(faces)
        evidence = context.evidence
        if evidence is None:
            return faces
        decided = []
        for face in faces:
            if face.llr is not None:
                state = self._decider.state(face.track, evidence)
                face = msgspec.structs.replace(face, **state._asdict())
            decided.append(face)
        return tuple(sorted(decided, key=_suspicion, reverse=True))

    def _label(
        self, faces: tuple[FaceVerdict, ...], inside: list[Observation], coverage: float
    ) -> tuple[Label, Reason]:
        if not inside:
            return Label.UNCERTAIN, Reason.NO_FRAMES
        if all(o.unscored for o in inside):
            return Label.UNCERTAIN, unscored_reason(inside[-1].unscored)
        if coverage < self._config.decision.min_coverage:
            return Label.UNCERTAIN, Reason.LOW_COVERAGE
        if not faces:
            return Label.NO_FACE, Reason.NO_FACE
        return faces[0].label, faces[0].reason

    def _pace(self, inside: list[Observation]) -> int:
        known = inside or self._recent
        return known[-1].pace if known else Pace.BASE

    def _age_ms(self, inside: list[Observation], context: ObservationContext) -> float:
        if not inside and not self._recent:
            return 0.0
        newest = inside[-1] if inside else self._recent[-1]
        return max(0.0, (context.now_s - newest.capture_s) * 1000)


def _suspicion(face: FaceVerdict) -> tuple[bool, bool, float, float]:
    return face.alarm, face.llr is not None, face.suspicion, face.llr or 0.0
