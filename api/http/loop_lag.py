"""Event-loop lag: how late a timer of the event loop fires."""

from __future__ import annotations

import asyncio
import time
from collections import deque

_TICK_S = 0.25
_TICKS_KEPT = 20


class LoopLagMonitor:
    """Samples event-loop lag every 0.25 s and keeps the last five seconds."""

    def __init__(self) -> None:
        self._lags_s: deque[float] = deque(maxlen=_TICKS_KEPT)
        self._task: asyncio.Task[None] | None = None

    @property
    def worst_lag_s(self) -> float:
        return max(self._lags_s, default=0.0)

    @property
    def latest_lag_s(self) -> float:
        return self._lags_s[-1] if self._lags_s else 0.0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="loop lag")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(_TICK_S)
            self._lags_s.append(max(0.0, time.monotonic() - before_s - _TICK_S))
