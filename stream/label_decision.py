"""Label decision: turns each face's cumulative evidence into a label. No I/O.

An open alarm is FAKE. A sum at the lower Wald bound is REAL until the clearing evidence has decayed. Everything else is
UNCERTAIN, with a reason. After `FORGET_S` without being seen, a face loses its sums, and its alarm closes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from stream.cusum import AlarmBudget, CusumState, EvidenceModel, EvidenceSample, advance, expected_delay_s, threshold
from stream.events import Decision, Label, Reason, TrackSums
from stream.sprt import wald_bounds

if TYPE_CHECKING:
    from stream.config import DecisionConfig
    from stream.types import Observation

FORGET_S = 10.0
MIN_EFFECTIVE_SAMPLES = 1.6         # minimum for a label other than UNCERTAIN; three samples at 2/s
_SUSPECT = 0.5          # share of the alarm limit
_STILL_CLEAR = 0.5      # a cleared face stays cleared down to this share of the bound
_MAX_FACES = 64


class FaceState(NamedTuple):
    """Decision on one face. `suspicion` is the share of the alarm limit that its sum has reached."""

    label: Label
    reason: Reason
    alarm: bool
    suspicion: float


UNKNOWN = FaceState(Label.UNCERTAIN, Reason.INSUFFICIENT_EVIDENCE, False, 0.0)


class LabelDecider:
    """Sums of all faces of one epoch. `fastest_hz` is the highest sampling rate that the stream may have."""

    def __init__(self, config: DecisionConfig, fastest_hz: float) -> None:
        self._config = config
        self._fastest_hz = fastest_hz
        self._sums: dict[int, CusumState] = {}
        self._cleared: set[int] = set()
        self._seen_s: dict[int, float] = {}

    def observe(self, observation: Observation, model: EvidenceModel) -> None:
        """Adds one sampled instant. Faces without a score only count as seen."""
        for face in observation.faces:
            self._seen_s[face.track] = observation.pts_s
        self._forget(observation.pts_s)
        limit = self.limit(model)
        for face in observation.faces:
            if face.llr is None or face.track not in self._seen_s:
                continue
            sample = EvidenceSample(observation.pts_s, face.llr, face.quality.weight)
            sums = advance(self._sums.get(face.track, CusumState()), sample, model, limit)
            self._sums[face.track] = sums
            self._clear(face.track, sums)

    def limit(self, model: EvidenceModel) -> float:
        """Returns the alarm limit for the current number of faces, in nats."""
        budget = AlarmBudget(self._config.false_alarms_per_hour, self._fastest_hz, max(1, len(self._seen_s)))
        return threshold(budget, model)

    def state(self, track: int, model: EvidenceModel) -> FaceState:
        """Returns the decision on this face; UNKNOWN if it was never scored."""
        sums = self._sums.get(track)
        if sums is None:
            return UNKNOWN
        suspicion = sums.statistic / self.limit(model)
        if sums.alarm:
            return FaceState(Label.FAKE, Reason.EVIDENCE_FAKE, True, suspicion)
        if sums.effective_samples < MIN_EFFECTIVE_SAMPLES:
            return FaceState(Label.UNCERTAIN, Reason.INSUFFICIENT_EVIDENCE, False, suspicion)
        if track in self._cleared:
            return FaceState(Label.REAL, Reason.EVIDENCE_REAL, False, suspicion)
        reason = Reason.SUSPECT if suspicion >= _SUSPECT else Reason.MONITORING
        return FaceState(Label.UNCERTAIN, reason, False, suspicion)

    def snapshot(self, model: EvidenceModel) -> Decision:
        """Returns the state that another process needs to continue. Omits faces without usable samples."""
        tracks = tuple(
            TrackSums(
                track=track,
                pts_s=sums.pts_s,
                statistic=sums.statistic,
                log_ratio=sums.log_ratio,
                effective_samples=sums.effective_samples,
                alarm=sums.alarm,
                cleared=track in self._cleared,
                seen_s=self._seen_s[track],
            )
            for track, sums in sorted(self._sums.items())
            if math.isfinite(sums.pts_s)
        )
        return Decision(limit=self.limit(model), clear_bound=self._clear_bound, tracks=tracks)

    def restore(self, decision: Decision) -> None:
        """Continues from the state that another process last published."""
        self._sums = {
            t.track: CusumState(t.pts_s, t.statistic, t.log_ratio, t.effective_samples, t.alarm)
            for t in decision.tracks[-_MAX_FACES:]
        }
        self._cleared = {t.track for t in decision.tracks if t.cleared}
        self._seen_s = {t.track: t.pts_s if t.seen_s is None else t.seen_s for t in decision.tracks[-_MAX_FACES:]}

    @property
    def _clear_bound(self) -> float:
        return wald_bounds(self._config.false_alarm, self._config.miss).lower

    def _clear(self, track: int, sums: CusumState) -> None:
        if sums.alarm or sums.log_ratio > _STILL_CLEAR * self._clear_bound:
            self._cleared.discard(track)
        elif sums.log_ratio <= self._clear_bound:
            self._cleared.add(track)

    def _forget(self, now_s: float) -> None:
        by_age = sorted(self._seen_s, key=self._seen_s.__getitem__)
        gone = {track for track in by_age if now_s - self._seen_s[track] > FORGET_S} | set(by_age[:-_MAX_FACES])
        for track in gone:
            del self._seen_s[track]
            self._sums.pop(track, None)
            self._cleared.discard(track)


class AlarmPolicy(NamedTuple):
    """Alarm rule that follows from the budget and the model. Limits are in nats.

    `delay_s` is the expected detection delay, None if the model cannot keep the budget.
    """

    false_alarms_per_hour: float
    limit: float
    clear_bound: float
    reference_llr: float
    delay_s: float | None


def alarm_policy_of(config: DecisionConfig, rates_hz: tuple[float, float], model: EvidenceModel) -> AlarmPolicy:
    """Returns the policy for one face; `rates_hz` are the fastest and the usual sampling rate."""
    fastest_hz, usual_hz = rates_hz
    limit = threshold(AlarmBudget(config.false_alarms_per_hour, fastest_hz), model)
    delay_s = expected_delay_s(limit, usual_hz, model)
    bounds = wald_bounds(config.false_alarm, config.miss)
    return AlarmPolicy(
        config.false_alarms_per_hour, limit, bounds.lower, model.reference, delay_s if math.isfinite(delay_s) else None
    )
