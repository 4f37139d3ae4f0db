"""Retry policy: delays, jitter, and when retries stop."""

from __future__ import annotations

import pytest

from stream.retry_policy import RetryPolicy


class Refuses:
    """Fails `failures` times, then returns the number of calls."""

    def __init__(self, failures: int, error: type[Exception] = OSError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return self.calls


def test_delays_double_up_to_the_longest_and_jitter_only_lengthens_them() -> None:
    policy = RetryPolicy.exponential(1.0, 5.0, jitter=0.5)
    assert policy.delays_s == (1.0, 2.0, 4.0, 5.0)
    for failures, delay_s in enumerate([1.0, 2.0, 4.0, 5.0, 5.0], 1):
        drawn = [policy.delay_s(failures) for _ in range(50)]
        assert all(delay_s <= one <= 1.5 * delay_s for one in drawn)
        assert len(set(drawn)) > 1


def test_a_requested_delay_counts_if_it_is_longer_and_gets_jitter_too() -> None:
    policy = RetryPolicy((1.0,), jitter=0.5)
    requested = [policy.delay_s(requested_s=60.0) for _ in range(50)]
    assert all(60.0 <= one <= 90.0 for one in requested)
    assert len(set(requested)) > 1
    assert all(1.0 <= policy.delay_s(3, requested_s=0.2) <= 1.5 for _ in range(50))


@pytest.mark.parametrize(("first_s", "delays_s"), [(3.0, (1.0,)), (0.0, (0.0,)), (1.0, (1.0,))])
def test_no_delay_exceeds_the_longest(first_s: float, delays_s: tuple[float, ...]) -> None:
    assert RetryPolicy.exponential(first_s, 1.0).delays_s == delays_s


async def test_retries_end_with_the_first_success() -> None:
    assert await RetryPolicy((0.01,)).retrying(OSError)(Refuses(3)) == 4


async def test_other_errors_are_raised_at_once() -> None:
    refuses = Refuses(3, ValueError)
    with pytest.raises(ValueError, match=r"^$"):
        await RetryPolicy((0.01,)).retrying(OSError)(refuses)
    assert refuses.calls == 1


async def test_the_last_error_is_raised_before_a_delay_that_ends_too_late() -> None:
    refuses = Refuses(1000)
    with pytest.raises(OSError, match=r"^$"):
        await RetryPolicy((0.05,), jitter=0.0).retrying(OSError, within_s=0.12)(refuses)
    assert 2 <= refuses.calls <= 3
