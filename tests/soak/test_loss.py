"""Packet loss of 1, 5, 10 and 20 %, a minute each, next to a call without loss; then a blackout of two seconds.

One test drops packets in relays on this machine, the other in the kernel, between network namespaces. They print their
figures and write them to `loss.json` and `loss-namespaces.json` in the folder `DEEPGUARD_TEST_OUT`, if given."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import httpx
import pytest

from api.bench.processes import serving
from tests.e2e.lossy_call import lossy_call
from tests.soak.figures import show
from tests.soak.losses import SHARES, measure
from tests.soak.namespaces import SERVER, network, run_in

SECONDS = float(os.environ.get("DEEPGUARD_TEST_LOSS_S", "60"))
BLACKOUTS = 5

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 300)]


async def test_samples_survive_loss_and_calls_come_back() -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving())
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=20)
        )
        calls = {share: await stack.enter_async_context(lossy_call(client, f"loss-{share:g}")) for share in SHARES}
        losses = await measure(calls, SECONDS, BLACKOUTS)
    show("loss", losses.figures())
    losses.check()


def test_calls_from_other_namespaces_survive_loss_and_come_back() -> None:
    with network(len(SHARES)):
        figures = run_in(SERVER, "tests.soak.namespace_calls", str(SECONDS), str(BLACKOUTS))
    show("loss-namespaces", figures)
