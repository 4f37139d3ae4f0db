"""How densely each stream is sampled, and whether another one is let in: from measured verdict ages alone. Pure.

Suspicion makes a stream wish for more samples, a clear face for fewer. While verdicts come late, the streams with the
least suspicion give up samples first; they get them back, most suspicious first, once verdicts are early again. A new
stream starts as slow as the slowest while verdicts are not early. It is refused once they are late although nobody has
samples left to give up, and until they are early again.
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
    """Verdicts older than `late_ms` mean overload, younger than `early_ms` mean room; each step moves a `share` of the
    streams (twice as many at twice `late_ms`, and so on), at most once per `settle_s`. `suspicious` is the share of the
    alarm limit at which a stream is hurried."""

    late_ms: float = 500.0
    early_ms: float = 250.0
    share: float = 0.25
    settle_s: float = 1.0
    suspicious: float = 0.3
    adaptive: bool = True


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """One stream as the ladder sees it. `suspicion` is the share of the alarm limit that its worst face has reached;
    `age_ms` is the age of its latest verdict, None before the first."""

    stream: str
    suspicion: float
    clear: bool
    age_ms: float | None


class LoadController:
    """Remembers only the pace of each stream. `plan` is called a few times per second."""

    def __init__(self, config: LoadControllerConfig | None = None) -> None:
        self._config = config or LoadControllerConfig()
        self._paces: dict[str, Pace] = {}
        self._moved_s = -math.inf
        self._full = self._pressed = self._reduced = False

    @property
    def full(self) -> bool:
        """Whether a new stream has to be refused."""
        return self._full

    @property
    def pressed(self) -> bool:
        """Whether somebody gets fewer samples than wished for."""
        return self._pressed

    @property
    def reduced(self) -> bool:
        """Whether somebody gets fewer samples than the base rate, and would not if verdicts came in time."""
        return self._reduced

    def plan(self, loads: Sequence[StreamLoad], now_s: float) -> Mapping[str, Pace]:
        """The pace of every stream from now on. `now_s` is monotonic."""
        wishes = {load.stream: self._wish(load) for load in loads}
        age_ms = _high(loads)
        is_early = age_ms < self._config.early_ms
        first = Pace.BASE if is_early else max([Pace.BASE, *self._paces.values()])
        known = {load.stream: self._paces.get(load.stream, first) for load in loads}
        # A stream may always go slower than it did; faster only when there is room.
        self._paces = {stream: max(pace, wishes[stream]) for stream, pace in known.items()}
        is_least = bool(loads) and all(pace is Pace.QUARTER for pace in self._paces.values())
        self._full = is_least and not is_early and (self._full or age_ms > self._config.late_ms)
        if now_s - self._moved_s >= self._config.settle_s:
            self._move(loads, wishes, age_ms, now_s)
        self._pressed = any(pace > wishes[stream] for stream, pace in self._paces.items())
        self._reduced = any(pace > max(wishes[stream], Pace.BASE) for stream, pace in self._paces.items())
        return dict(self._paces)

    def _move(
        self, loads: Sequence[StreamLoad], wishes: Mapping[str, Pace], age_ms: float, now_s: float
    ) -> None:
        order = sorted(loads, key=lambda load: load.suspicion)
        steps = 1.0
        if age_ms > self._config.late_ms:
            steps = age_ms // self._config.late_ms
            movable = [load.stream for load in order if self._paces[load.stream] is not Pace.QUARTER]
            step = 1
        elif age_ms < self._config.early_ms:
            movable = [load.stream for load in reversed(order) if self._paces[load.stream] > wishes[load.stream]]
            step = -1
        else:
            return
        for stream in movable[: max(1, round(steps * self._config.share * len(loads)))]:
            self._paces[stream] = _LADDER[_LADDER.index(self._paces[stream]) + step]
            self._moved_s = now_s

    def _wish(self, load: StreamLoad) -> Pace:
        if not self._config.adaptive:
            return Pace.BASE
        if load.suspicion >= self._config.suspicious:
            return Pace.FAST
        return Pace.HALF if load.clear else Pace.BASE


def _high(loads: Sequence[StreamLoad]) -> float:
    """The 90th percentile of the latest verdicts' ages; 0 where there are none."""
    ages_ms = sorted(load.age_ms for load in loads if load.age_ms is not None)
    return ages_ms[min(len(ages_ms) - 1, math.ceil(0.9 * len(ages_ms)) - 1)] if ages_ms else 0.0
