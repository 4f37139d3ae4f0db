"""Rate limits per caller: token buckets that start full and hold the requests of one minute."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import Literal

from api.errors import RateLimited
from api.http.auth import Caller

RequestKind = Literal["upload", "offer", "session request"]

_MAX_CALLERS = 4096
_SESSION_REQUESTS = 10      # per allowed offer: trickled candidates and the final DELETE


class TokenBuckets:
    """One bucket per caller.

    At `max_callers` the least recently seen one is evicted and restarts with a full bucket.
    """

    def __init__(self, rate_per_min: int, max_callers: int = _MAX_CALLERS) -> None:
        self._rate_per_min = rate_per_min
        self._max_callers = max_callers
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, identity: str, now_s: float) -> float:
        """Takes a token and returns 0, or returns the seconds until one is available."""
        level, seen_s = self._levels.pop(identity, (float(self._rate_per_min), now_s))
        level = min(self._rate_per_min, level + max(0.0, now_s - seen_s) * self._rate_per_min / 60)
        allowed = level >= 1
        self._levels[identity] = (level - 1 if allowed else level, now_s)
        if len(self._levels) > self._max_callers:
            self._levels.popitem(last=False)
        return 0.0 if allowed else (1 - level) * 60 / self._rate_per_min


class RateLimiter:
    """The rate limits of this process, by kind of request."""

    def __init__(self, upload_rate_per_min: int, offer_rate_per_min: int) -> None:
        self._buckets: dict[RequestKind, TokenBuckets] = {
            "upload": TokenBuckets(upload_rate_per_min),
            "offer": TokenBuckets(offer_rate_per_min),
            "session request": TokenBuckets(offer_rate_per_min * _SESSION_REQUESTS),
        }

    def check(self, kind: RequestKind, caller: Caller) -> None:
        """Counts one request against its limit. Raises RateLimited."""
        wait_s = self._buckets[kind].take(caller.identity, time.monotonic())
        if wait_s > 0:
            retry_s = math.ceil(wait_s)
            raise RateLimited("rate_limited", f"too many {kind}s from this client; try again in {retry_s} s", retry_s)
