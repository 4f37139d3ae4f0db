"""Calls of clients in other namespaces, which lose packets. To be run in the server's namespace (`namespaces.network`).

    python -m tests.soak.namespace_calls SECONDS BLACKOUTS      prints the figures as JSON, fails where a bar is missed
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from api.bench.processes import serving
from tests.e2e.lossy_call import Seen
from tests.soak.losses import SHARES, measure
from tests.soak.namespaces import SERVER_ADDRESS, client_name, lose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "a-key-of-this-test-alone"


class NamespaceCall:
    """A publisher in the network namespace of client `number`."""

    def __init__(self, client: httpx.AsyncClient, number: int, shares: dict[int, float]) -> None:
        self.stream = f"call-{number}"
        self._client = client
        self._number = number
        self._shares = shares       # of all calls, because the kernel's rules are set together
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        url, pipe = f"{self._client.base_url}/whip/{self.stream}", asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", client_name(self._number)), sys.executable, "-m", "tests.soak.namespace_publisher",
            url, KEY, stdin=pipe, stdout=pipe,
        )
        while (await self._client.get(f"/v1/streams/{self.stream}")).status_code != 200:
            assert self._process.returncode is None, "the publisher ended"
            await asyncio.sleep(0.05)

    async def lose(self, share: float) -> None:
        self._shares[self._number] = share
        await asyncio.to_thread(lose, self._shares)

    async def blackout(self, seconds: float) -> None:
        await self.lose(1.0)
        await asyncio.sleep(seconds)
        await self.lose(0.0)

    async def seen(self) -> Seen:
        frames = (await self._client.get(f"/v1/streams/{self.stream}")).json()["frames"]
        return Seen(await self._sent(), frames["received"], frames["sampled"], frames["dropped"])

    async def next_sample_s(self) -> float:
        began_s, before = time.monotonic(), (await self.seen()).sampled
        while (await self.seen()).sampled == before:
            await asyncio.sleep(0.02)
        return time.monotonic() - began_s

    async def close(self) -> None:
        if self._process is not None:
            self._process.kill()        # the service ends right afterwards
            await self._process.wait()

    async def _sent(self) -> int:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        return int(await process.stdout.readline())


@asynccontextmanager
async def _call(call: NamespaceCall) -> AsyncIterator[NamespaceCall]:
    try:
        await call.start()
        yield call
    finally:
        await call.close()


async def main(seconds: float, blackouts: int) -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(HOST=SERVER_ADDRESS, DEEPGUARD_API_KEYS=KEY))
        client = await stack.enter_async_context(httpx.AsyncClient(
            base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=20,
        ))
        shares: dict[int, float] = {}
        calls = {
            share: await stack.enter_async_context(_call(NamespaceCall(client, number, shares)))
            for number, share in enumerate(SHARES)
        }
        losses = await measure(calls, seconds, blackouts)
    print(json.dumps(losses.figures()), flush=True)
    losses.check()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
