"""Retry policy: the delays between attempts, with jitter. All retries of the service take their delays from it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import tenacity


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`delays_s` follow each other, and the last one repeats; each is lengthened by up to `jitter` times itself.

    Jitter keeps clients that failed together from retrying together.
    """

    delays_s: tuple[float, ...]
    jitter: float = 0.2

    @classmethod
    def exponential(cls, first_s: float, longest_s: float, jitter: float = 0.2) -> RetryPolicy:
        """Returns a policy whose delays double from `first_s` to `longest_s` seconds."""
        delays_s = [min(first_s, longest_s)]
        while 0 < delays_s[-1] < longest_s:
            delays_s.append(min(2 * delays_s[-1], longest_s))
        return cls(tuple(delays_s), jitter)

    def delay_s(self, failures: int = 1, requested_s: float = 0.0) -> float:
        """Returns the seconds to wait after `failures` failed attempts in a row, at least 1.

        `requested_s` is the delay that the other side asks for, such as `Retry-After`; the longer one counts.
        """
        delay_s = max(self.delays_s[min(failures, len(self.delays_s)) - 1], requested_s)
        return delay_s * random.uniform(1.0, 1.0 + self.jitter)

    def retrying(self, *errors: type[Exception], within_s: float | None = None) -> tenacity.AsyncRetrying:
        """Returns a caller that repeats a coroutine function after `errors`, and raises the last one.

        It stops before a delay that would end later than `within_s` after the first attempt.
        """
        return tenacity.AsyncRetrying(
            sleep=asyncio.sleep,
            wait=lambda state: self.delay_s(state.attempt_number),
            stop=tenacity.stop_never if within_s is None else tenacity.stop_before_delay(within_s),
            retry=tenacity.retry_if_exception_type(errors),
            reraise=True,
        )
