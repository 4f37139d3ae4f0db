"""Score fusion: from logit and frequency score to a calibrated log-likelihood ratio and posterior. Pure.

LLR = gain * clip(bias + logit_weight * logit + frequency_weight * s, -limit, limit), in nats. Here s is the log-odds of
the frequency score. The posterior at even prior is sigmoid(LLR). `gain` below 1 shrinks the LLR as far as the worst
held-out corruption requires.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_SCORE_EPSILON = 1e-4


@dataclass(frozen=True, slots=True)
class Calibration:
    """Coefficients of the fusion. `frequency_weight` is 0 unless the frequency score lowers the held-out loss.

    Raises ValueError for numbers that are not finite or out of range.
    """

    bias: float
    logit_weight: float
    frequency_weight: float = 0.0
    limit: float = 4.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.bias, self.logit_weight, self.frequency_weight, self.limit, self.gain)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"calibration: expected finite numbers, got {numbers}")
        if self.limit <= 0 or not 0 < self.gain <= 1 or self.logit_weight < 0:
            raise ValueError(f"calibration: expected limit > 0, 0 < gain <= 1, logit_weight >= 0, got {numbers}")


# The network's logit unchanged, for a model that was never calibrated.
UNCALIBRATED = Calibration(bias=0.0, logit_weight=1.0)


def log_likelihood_ratio(logit: float, frequency_score: float | None, calibration: Calibration) -> float:
    """Returns ln(p(crop | fake) / p(crop | real)) in nats, clipped. Raises ValueError for an infinite or NaN logit."""
    if not math.isfinite(logit):
        raise ValueError(f"logit: expected a finite number, got {logit}")
    total = calibration.bias + calibration.logit_weight * logit
    if frequency_score is not None and calibration.frequency_weight:
        probability = min(max(frequency_score, _SCORE_EPSILON), 1 - _SCORE_EPSILON)
        total += calibration.frequency_weight * math.log(probability / (1 - probability))
    return calibration.gain * min(max(total, -calibration.limit), calibration.limit)


def prob_fake(llr: float) -> float:
    """Returns the posterior probability of fake at even prior, 0..1."""
    if llr >= 0:
        return 1 / (1 + math.exp(-llr))
    odds = math.exp(llr)
    return odds / (1 + odds)
