"""Simulates the alarm rule on synthetic evidence: false alarms per hour and detection delay.

Time is simulated, not waited for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from stream.cusum import AlarmBudget, EvidenceModel, expected_delay_s, independence, threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SimulatedStreams:
    """Properties of the simulated evidence.

    `offset_sd` is the standard deviation of a persistent offset per stream, in nats. `gap_share` is the share of lost
    samples. `tail_df` is the degrees of freedom of a t distribution; None means Gaussian. `correlation_s` is the true
    correlation time; None means the model's.
    """

    rate_hz: float = 2.0
    offset_sd: float = 0.0
    gap_share: float = 0.0
    tail_df: int | None = None
    correlation_s: float | None = None
    tracks: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """False alarms and detection delays of one simulation.

    `alarms` were counted in `stream_hours`. `rate_low` and `rate_high` bound the 95 % Poisson interval of
    `rate_per_hour`. Delays are in seconds.
    """

    alarms: int
    stream_hours: float
    rate_per_hour: float
    rate_low: float
    rate_high: float
    delay_mean_s: float
    delay_median_s: float
    delay_p95_s: float
    delay_formula_s: float
    detected_share: float
    limit: float


class _Evidence:
    """AR(1) series of evidence for many faces, advanced one step at a time."""

    def __init__(self, model: EvidenceModel, world: SimulatedStreams, faces: int) -> None:
        self._random = np.random.default_rng(world.seed)
        self._world = world
        interval_s = 1 / world.rate_hz
        true_s = model.correlation_s if world.correlation_s is None else world.correlation_s
        self._rho = math.exp(-interval_s / true_s) if true_s > 0 else 0.0
        self._sd = model.sd
        self._state = self._random.standard_normal(faces)
        self._offset = world.offset_sd * self._random.standard_normal(faces)

    def step(self, mean: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns each face's next log-likelihood ratio, float64 (faces,), and which faces were sampled, bool
        (faces,)."""
        self._state = self._rho * self._state + math.sqrt(1 - self._rho**2) * self._noise()
        seen = self._random.random(self._state.size) >= self._world.gap_share
        return mean + self._sd * self._state + self._offset, seen

    def _noise(self) -> NDArray[np.float64]:
        df = self._world.tail_df
        if df is None:
            return self._random.standard_normal(self._state.size)
        scaled: NDArray[np.float64] = self._random.standard_t(df, self._state.size) / math.sqrt(df / (df - 2))
        return scaled


def simulate(
    budget: AlarmBudget, model: EvidenceModel, world: SimulatedStreams, *, streams: int = 256, hours: float = 1.0
) -> SimulationResult:
    """Simulates real streams for `hours` each, then fakes until they alarm or ten times the expected delay has
    passed."""
    limit = threshold(budget, model)
    formula_s = expected_delay_s(limit, world.rate_hz, model)
    alarms = _false_alarms(limit, model, world, streams, int(hours * 3600 * world.rate_hz))
    delays_s = _delays_s(limit, model, world, streams, formula_s)
    stream_hours = streams * hours
    found = delays_s[np.isfinite(delays_s)]
    low = chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0
    return SimulationResult(
        alarms=alarms,
        stream_hours=stream_hours,
        rate_per_hour=alarms / stream_hours,
        rate_low=float(low) / stream_hours,
        rate_high=float(chi2.ppf(0.975, 2 * alarms + 2)) / 2 / stream_hours,
        delay_mean_s=float(found.mean()) if found.size else math.inf,
        delay_median_s=float(np.median(delays_s)) if delays_s.size else math.inf,
        delay_p95_s=float(np.quantile(delays_s, 0.95, method="higher")) if delays_s.size else math.inf,
        delay_formula_s=formula_s,
        detected_share=found.size / max(1, delays_s.size),
        limit=limit,
    )


def _false_alarms(limit: float, model: EvidenceModel, world: SimulatedStreams, streams: int, steps: int) -> int:
    """Counts the alarms of real faces. A stream starts again at 0 after an alarm, as if an operator had dismissed
    it."""
    mean = model.mean_real if world.offset_sd == 0 else model.mean_real - 1.645 * world.offset_sd
    evidence = _Evidence(model, world, streams * world.tracks)
    sums, since = _fresh(streams * world.tracks)
    new = _new_share(model, world)
    alarms = 0
    for _ in range(steps):
        sums, since = _advance_all(sums, since, *evidence.step(mean), model=model, new_share=new)
        struck = (sums >= limit).reshape(streams, world.tracks).any(axis=1)
        alarms += int(struck.sum())
        sums = np.where(np.repeat(struck, world.tracks), 0.0, sums)
    return alarms


def _delays_s(
    limit: float, model: EvidenceModel, world: SimulatedStreams, streams: int, formula_s: float
) -> NDArray[np.float64]:
    if not math.isfinite(formula_s):
        return np.full(streams, np.inf)
    evidence = _Evidence(model, world, streams)
    sums, since = _fresh(streams)
    new = _new_share(model, world)
    delays_s = np.full(streams, np.inf)
    for step in range(int(10 * formula_s * world.rate_hz) + 1):
        sums, since = _advance_all(sums, since, *evidence.step(model.mean_fake), model=model, new_share=new)
        delays_s = np.where((sums >= limit) & np.isinf(delays_s), (step + 1) / world.rate_hz, delays_s)
        if np.isfinite(delays_s).all():
            break
    return delays_s


def _fresh(faces: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return np.zeros(faces), np.ones(faces, dtype=np.int64)


def _new_share(model: EvidenceModel, world: SimulatedStreams) -> NDArray[np.float64]:
    """Returns the share of independent information in a sample, by the number of steps since the last one."""
    return np.array([independence(k / world.rate_hz, model.correlation_s) for k in range(64)])


def _advance_all(
    sums: NDArray[np.float64],
    since: NDArray[np.int64],
    llr: NDArray[np.float64],
    was_seen: NDArray[np.bool_],
    *,
    model: EvidenceModel,
    new_share: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Advances the sums of many faces at full weight, as `stream.cusum.advance` does for one.

    `since` counts the steps since each face was last sampled.
    """
    new = new_share[np.minimum(since, len(new_share) - 1)]
    step = new * max(0.0, model.gain) * (np.clip(llr, -model.clip, model.clip) - model.reference)
    grown = np.maximum(0.0, sums + step)
    return np.where(was_seen, grown, sums), np.where(was_seen, 1, since + 1)
