"""Calls over a network that loses: how many samples are left, and how soon a call is back after two seconds of nothing.

The short form of `tests/soak/test_loss.py`, which docs/performance.md shows.
"""

from __future__ import annotations

import asyncio

import httpx
import pytest

from api.bench.processes import serving
from tests.e2e.lossy_call import lossy_call

SECONDS = 20.0
LOSS, SAMPLES_SHARE = 0.05, 0.95
BLACKOUT_S, BACK_S = 2.0, 3.0
PHASE = 2       # samples that a count may differ by because of when it began and ended

pytestmark = pytest.mark.slow


async def test_a_call_keeps_its_samples_at_five_percent_loss_and_comes_back_from_a_blackout() -> None:
    async with (
        serving() as service, httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=20) as client,
        lossy_call(client, "good") as good, lossy_call(client, "bad") as bad, lossy_call(client, "dark") as dark,
    ):
        await bad.lose(LOSS)
        before = [await call.seen() for call in (good, bad)]
        await asyncio.sleep(SECONDS / 2)
        await dark.blackout(BLACKOUT_S)
        back_s = await dark.next_sample_s()
        await asyncio.sleep(SECONDS / 2)
        after = [await call.seen() for call in (good, bad)]
    samples = [now.sampled - then.sampled for now, then in zip(after, before, strict=True)]
    print(f"samples without and with loss: {samples}; back after {back_s:.2f} s")
    assert samples[0] > SECONDS
    assert samples[1] >= SAMPLES_SHARE * samples[0] - PHASE
    assert back_s <= BACK_S
