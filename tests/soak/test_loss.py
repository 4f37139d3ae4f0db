"""Loss of 1, 5, 10 and 20 %, a minute each, side by side with a call without any; then two seconds of nothing.

The figures are printed; as JSON they go to `loss.json` in the folder `DEEPGUARD_TEST_OUT`, if that is given.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import httpx
import pytest

from api.bench.children import serving
from tests.e2e.lossy_call import Seen, lossy_call
from tests.soak.figures import show

SECONDS = float(os.environ.get("DEEPGUARD_TEST_LOSS_S", "60"))
SHARES = {0.0: 1.0, 0.01: 0.99, 0.05: 0.95, 0.10: 0.90, 0.20: 0.70}     # of packets lost: of samples kept, at least
BLACKOUTS, BLACKOUT_S, BACK_S = 5, 2.0, 3.0
PHASE = 1

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 300)]


async def test_samples_survive_loss_and_calls_come_back() -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving())
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=20)
        )
        calls = {share: await stack.enter_async_context(lossy_call(client, f"loss-{share:g}")) for share in SHARES}
        for share, call in calls.items():
            await call.lose(share)
        before = {share: await call.seen() for share, call in calls.items()}
        await asyncio.sleep(SECONDS)
        seen = {share: minus(await call.seen(), before[share]) for share, call in calls.items()}
        back_s = []
        for _ in range(BLACKOUTS):
            await calls[0.0].blackout(BLACKOUT_S)
            back_s.append(await calls[0.0].next_sample_s())
            await asyncio.sleep(2)
    kept = {share: now.sampled / seen[0.0].sampled for share, now in seen.items()}
    show("loss", {
        **{f"{share:.0%} loss": f"{kept[share]:.1%} of the samples, {now}" for share, now in seen.items()},
        "back after blackout": [round(value, 2) for value in back_s],
    })
    for share, least in SHARES.items():
        assert seen[share].sampled >= least * seen[0.0].sampled - PHASE
    assert max(back_s) <= BACK_S


def minus(now: Seen, then: Seen) -> Seen:
    gaps = {cause: count - then.gaps.get(cause, 0) for cause, count in now.gaps.items()}
    return Seen(now.sent - then.sent, now.received - then.received, now.sampled - then.sampled, gaps)
