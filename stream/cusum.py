"""Page's cumulative sum (CUSUM) test on correlated evidence, with thresholds from a false-alarm budget.

E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), defines the sum. G. Lorden, "Procedures for reacting
to a change in distribution", Ann. Math. Statist. 42 (1971), gives its delay. The reference value lies half-way between
the upper end of real streams' means and the mean of fakes. This composite null keeps streams with a persistent offset
from alarming. All logarithms are natural; all times are media seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from detector.types import EvidenceStats


class EvidenceModel(msgspec.Struct, frozen=True):
    """Distribution of the calibrated log-likelihood ratio (llr, in nats) of single samples.

    `mean_real` is the 95th percentile over real streams of a stream's mean llr: an upper end, not a mean. `mean_fake`
    is the mean over fakes. `sd` is the standard deviation of samples within a stream. In `correlation_s` seconds, the
    correlation between samples falls to 1/e. `clip` bounds the llr of one sample.

    A separate test clears a face: it compares `real_middle`, the median of real streams' means, with `fake_low`, the
    10th percentile of fakes. The alarm's test cannot be used, because it would clear every fake that it misses. None
    stands for `mean_real` and `mean_fake`.
    """

    mean_real: float
    mean_fake: float
    sd: float
    correlation_s: float
    clip: float = 4.0
    real_middle: float | None = None
    fake_low: float | None = None

    def __post_init__(self) -> None:
        if self.sd <= 0 or self.correlation_s < 0 or self.clip <= 0:
            raise ValueError(f"expected positive sd and clip and correlation_s of at least 0, got {self}")

    @property
    def separable(self) -> bool:
        """Whether fakes lie above the upper end of real streams. If not, no false-alarm budget can be kept."""
        return self.mean_fake > self.mean_real

    @property
    def reference(self) -> float:
        """The llr at which the sum neither rises nor falls."""
        return (self.mean_real + self.mean_fake) / 2

    @property
    def gain(self) -> float:
        """Nats of evidence per unit of llr and effective sample."""
        return (self.mean_fake - self.mean_real) / self.sd**2


    @property
    def clear_reference(self) -> float:
        """The llr below which a face moves towards being cleared."""
        return (self._real + self._fake) / 2

    @property
    def clear_gain(self) -> float:
        """As `gain`, for clearing; 0 disables clearing where the two values are closer than single samples spread.

        Streams have larger persistent offsets than that, and the few clips measured cannot tell the two values apart.
        """
        apart = self._fake - self._real
        return apart / self.sd**2 if apart >= self.sd else 0.0

    @property
    def _real(self) -> float:
        return self.mean_real if self.real_middle is None else self.real_middle

    @property
    def _fake(self) -> float:
        return self.mean_fake if self.fake_low is None else self.fake_low


def evidence_model(stats: EvidenceStats) -> EvidenceModel:
    """Returns the evidence model measured for a detector model."""
    return EvidenceModel(
        stats.mean_real, stats.mean_fake, stats.sd, stats.correlation_s, real_middle=stats.real_middle,
        fake_low=stats.fake_low,
    )


def independence(interval_s: float, correlation_s: float) -> float:
    """Returns the share of new information in a sample taken `interval_s` after the previous one.

    This is (1 - rho) / (1 + rho) with rho = exp(-interval / correlation), or tanh(interval / (2 correlation)).
    """
    if correlation_s <= 0:
        return 1.0
    return math.tanh(max(0.0, interval_s) / (2 * correlation_s))


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """Allowed false alarms per hour and stream, at up to `tracks` faces and `rate_hz` samples/s."""

    false_alarms_per_hour: float = 0.01
    rate_hz: float = 5.0
    tracks: int = 1

    def __post_init__(self) -> None:
        if self.false_alarms_per_hour <= 0 or self.rate_hz <= 0 or self.tracks < 1:
            raise ValueError(f"expected positive false_alarms_per_hour and rate_hz and at least 1 track, got {self}")


def threshold(budget: AlarmBudget, model: EvidenceModel) -> float:
    """Returns the sum that opens an alarm: ln(effective samples between allowed alarms) + ln(tracks), in nats.

    Slower sampling tests less often, so the threshold of the fastest rate keeps the budget at every rate.
    """
    effective_per_s = budget.rate_hz * independence(1 / budget.rate_hz, model.correlation_s)
    effective_samples = 3600 / budget.false_alarms_per_hour * effective_per_s
    return max(1.0, math.log(effective_samples)) + math.log(budget.tracks)


def expected_delay_s(limit: float, rate_hz: float, model: EvidenceModel) -> float:
    """Returns the mean time in seconds from the first fake sample to the alarm.

    This is limit / drift plus half an effective sample of overshoot. It is infinite where the model cannot separate
    fakes from the upper end of real streams.
    """
    if not model.separable:
        return math.inf
    new_per_s = rate_hz * independence(1 / rate_hz, model.correlation_s)
    drift = new_per_s * model.gain * (model.mean_fake - model.reference)
    return limit / drift + 0.5 / new_per_s


@dataclass(frozen=True, slots=True)
class EvidenceSample:
    """One scored sample of a face; `weight` in 0..1 is its quality."""

    pts_s: float
    llr: float
    weight: float


@dataclass(frozen=True, slots=True)
class CusumState:
    """State of the test for one face. `alarm` stays true until the sum has fallen to `CLOSE` of the limit.

    `statistic` is Page's sum for an alarm, in nats. `log_ratio` is the Wald sum that can clear a face, in nats; it and
    `effective_samples` decay with a half-life. `pts_s` is the media time of the newest sample.
    """

    pts_s: float = -math.inf
    statistic: float = 0.0
    log_ratio: float = 0.0
    effective_samples: float = 0.0
    alarm: bool = False


CLOSE = 0.25            # an open alarm closes when the sum has fallen to this share of the limit
CEILING = 1.5           # the sum stops rising at this multiple, so that closing takes bounded time
HALF_LIFE_S = 60.0      # half-life of the evidence that clears a face
DEEPEST = 5.0           # nats; lower bound of `log_ratio`, so that clearing evidence decays in bounded time


def advance(sums: CusumState, sample: EvidenceSample, model: EvidenceModel, limit: float) -> CusumState:
    """Returns the state after one more sample. Late, non-finite and zero-weight samples change nothing."""
    if not math.isfinite(sample.llr) or sample.weight <= 0 or not sample.pts_s > sums.pts_s:
        return sums
    interval_s = sample.pts_s - sums.pts_s
    new = independence(interval_s, model.correlation_s)
    kept = 0.5 ** (interval_s / HALF_LIFE_S)
    bounded = min(max(sample.llr, -model.clip), model.clip)
    added = min(sample.weight, 1.0) * new
    statistic = sums.statistic + added * max(0.0, model.gain) * (bounded - model.reference)
    statistic = min(max(0.0, statistic), CEILING * limit)
    log_ratio = sums.log_ratio * kept + added * model.clear_gain * (bounded - model.clear_reference)
    return CusumState(
        pts_s=sample.pts_s,
        statistic=statistic,
        log_ratio=min(max(log_ratio, -DEEPEST), DEEPEST),
        effective_samples=sums.effective_samples * kept + added,
        alarm=statistic >= limit or (sums.alarm and statistic > CLOSE * limit),
    )
