"""Load controller: sets each stream's sampling density, and admits new streams, by measured verdict ages. No I/O.

A suspicious stream is due more samples, a stream with a cleared face fewer. While verdicts are late, the least
suspicious streams give up samples first. Once verdicts are early again, the most suspicious streams regain samples
first. While verdicts are not early, a new stream starts at the slowest pace in use. New streams are refused when
verdicts are late although all streams have the lowest pace, and until verdicts are early again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.frame_sampler import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LADDER = (Pace.FAST, Pace.BASE, Pace.HALF, Pace.QUARTER)


@dataclass(frozen=True, slots=True)
class LoadControllerConfig:
    """Thresholds and steps of the load controller.

    Verdicts older than `late_ms` mean overload; younger than `early_ms`, spare capacity. Each step moves a `share` of
    the streams (twice as many at twice `late_ms`, and so on), at most once per `settle_s`. `suspicious` is the share of
    the alarm limit above which a stream is sampled faster.
    """

    late_ms: float = 500.0
    early_ms: float = 250.0
    share: float = 0.25
    settle_s: float = 1.0
    suspicious: float = 0.3
    adaptive: bool = True


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """Load of one stream.

    `suspicion` is the share of the alarm limit that its most suspicious face has reached. `age_ms` is the age of its
    latest verdict, None before the first.
    """

    stream: str
    suspicion: float
    clear: bool
    age_ms: float | None


class LoadController:
    """Plans the pace of each stream, which is its only state. `plan` is called a few times per second."""

    def __init__(self, config: LoadControllerConfig | None = None) -> None:
        self._config = config or LoadControllerConfig()
        self._paces: dict[str, Pace] = {}
        self._moved_s = -math.inf
        self._full = self._throttled = self._reduced = False

    @property
    def full(self) -> bool:
        """Whether new streams must be refused."""
        return self._full

    @property
    def throttled(self) -> bool:
        """Whether any stream gets fewer samples than it is due."""
        return self._throttled

    @property
    def reduced(self) -> bool:
        """Whether late verdicts have put any stream below the base rate."""
        return self._reduced

    def plan(self, loads: Sequence[StreamLoad], now_s: float) -> Mapping[str, Pace]:
        """Returns the pace of every stream from now on. `now_s` is monotonic."""
        due = {load.stream: self._due_pace(load) for load in loads}
        age_ms = _high_age_ms(loads)
        is_early = age_ms < self._config.early_ms
        first = Pace.BASE if is_early else max([Pace.BASE, *self._paces.values()])
        known = {load.stream: self._paces.get(load.stream, first) for load in loads}
        # A stream may slow down at any time, but speeds up only when there is spare capacity.
        self._paces = {stream: max(pace, due[stream]) for stream, pace in known.items()}
        is_least = bool(loads) and all(pace is Pace.QUARTER for pace in self._paces.values())
        self._full = is_least and not is_early and (self._full or age_ms > self._config.late_ms)
        if now_s - self._moved_s >= self._config.settle_s:
            self._move(loads, due, age_ms, now_s)
        self._throttled = any(pace > due[stream] for stream, pace in self._paces.items())
        self._reduced = any(pace > max(due[stream], Pace.BASE) for stream, pace in self._paces.items())
        return dict(self._paces)

    def _move(
        self, loads: Sequence[StreamLoad], due: Mapping[str, Pace], age_ms: float, now_s: float
    ) -> None:
        order = sorted(loads, key=lambda load: load.suspicion)
        steps = 1.0
        if age_ms > self._config.late_ms:
            steps = age_ms // self._config.late_ms
            movable = [load.stream for load in order if self._paces[load.stream] is not Pace.QUARTER]
            step = 1
        elif age_ms < self._config.early_ms:
            movable = [load.stream for load in reversed(order) if self._paces[load.stream] > due[load.stream]]
            step = -1
        else:
            return
        for stream in movable[: max(1, round(steps * self._config.share * len(loads)))]:
            self._paces[stream] = _LADDER[_LADDER.index(self._paces[stream]) + step]
            self._moved_s = now_s

    def _due_pace(self, load: StreamLoad) -> Pace:
        if not self._config.adaptive:
            return Pace.BASE
        if load.suspicion >= self._config.suspicious:
            return Pace.FAST
        return Pace.HALF if load.clear else Pace.BASE


def _high_age_ms(loads: Sequence[StreamLoad]) -> float:
    """Returns the 90th percentile of the latest verdicts' ages in milliseconds; 0 if there are none."""
    ages_ms = sorted(load.age_ms for load in loads if load.age_ms is not None)
    return ages_ms[min(len(ages_ms) - 1, math.ceil(0.9 * len(ages_ms)) - 1)] if ages_ms else 0.0
