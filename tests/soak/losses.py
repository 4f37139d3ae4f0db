"""Measurements of calls over lossy networks, however the loss is produced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.lossy_call import Seen

SHARES = {0.0: 1.0, 0.01: 0.99, 0.05: 0.95, 0.10: 0.90, 0.20: 0.70}     # packets lost: samples kept, at least
BLACKOUT_S, BACK_S = 2.0, 3.0
PHASE = 1


class BadCall(Protocol):
    """A call whose network can drop packets."""

    async def lose(self, share: float) -> None: ...

    async def blackout(self, seconds: float) -> None: ...

    async def seen(self) -> Seen: ...

    async def next_sample_s(self) -> float: ...


class Losses(NamedTuple):
    """Measurements of each call under packet loss, and of each blackout."""

    seen: dict[float, Seen]
    back_s: list[float]

    def figures(self) -> dict[str, object]:
        whole = self.seen[0.0].sampled
        shares = {
            f"{share:.0%} loss": f"{now.sampled / whole:.1%} of the samples, {now}" for share, now in self.seen.items()
        }
        return {**shares, "back after blackout": [round(value, 2) for value in self.back_s]}

    def check(self) -> None:
        """Asserts the limits in `docs/performance.md`."""
        whole = self.seen[0.0].sampled
        for share, now in self.seen.items():
            assert now.sampled >= SHARES[share] * whole - PHASE, (share, now, whole)
        assert max(self.back_s) <= BACK_S


async def measure(calls: Mapping[float, BadCall], seconds: float, blackouts: int) -> Losses:
    """Applies all loss shares at once, one per call, for the given time; then blacks out the call without loss."""
    for share, call in calls.items():
        await call.lose(share)
    before = {share: await call.seen() for share, call in calls.items()}
    await asyncio.sleep(seconds)
    seen = {share: _minus(await call.seen(), before[share]) for share, call in calls.items()}
    back_s = []
    for _ in range(blackouts):
        await calls[0.0].blackout(BLACKOUT_S)
        back_s.append(await calls[0.0].next_sample_s())
        await asyncio.sleep(2)
    return Losses(seen, back_s)


def _minus(now: Seen, then: Seen) -> Seen:
    gaps = {cause: count - then.gaps.get(cause, 0) for cause, count in now.gaps.items()}
    return now._replace(
        sent=now.sent - then.sent, received=now.received - then.received, sampled=now.sampled - then.sampled, gaps=gaps
    )
