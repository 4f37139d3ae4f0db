"""A call through a lossy network, and the service's view of it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.api.publisher import MovingPicture, Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

_LOOPBACK = re.compile(r"a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+) typ host", re.IGNORECASE)


class Seen(NamedTuple):
    """Stream counts of the service, after the publisher sent `sent` frames."""

    sent: int
    received: int
    sampled: int
    gaps: dict[str, int]


class LossyCall:
    """Publishes `stream` through a relay of its own."""

    def __init__(self, client: httpx.AsyncClient, stream: str) -> None:
        self.stream = stream
        self._client = client
        grainy = MovingPicture(320, 240, noise=24)      # 2 s of it are more packets than can be sent again
        self._publisher = Publisher(f"{client.base_url}/whip/{stream}", through=self._through_relay, track=grainy)
        self._relay: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Comes again when the service is busy; returns when the stream is live."""
        await self._publisher.publish(patient=True)
        while (await self._client.get(f"/v1/streams/{self.stream}")).status_code != 200:
            await asyncio.sleep(0.05)

    async def lose(self, share: float) -> None:
        await self._tell(f"loss {share}\n")

    async def blackout(self, seconds: float) -> None:
        """Returns when it is over."""
        await self._tell(f"blackout {seconds}\n")
        assert self._relay is not None
        assert self._relay.stdout is not None
        assert await self._relay.stdout.readline() == b"over\n"

    async def seen(self) -> Seen:
        frames = (await self._client.get(f"/v1/streams/{self.stream}")).json()["frames"]
        return Seen(self._publisher.track.number, frames["received"], frames["sampled"], frames["dropped"])

    async def next_sample_s(self) -> float:
        """How long it takes until the next frame is examined."""
        began_s = time.monotonic()
        before = (await self.seen()).sampled
        while (await self.seen()).sampled == before:
            await asyncio.sleep(0.02)
        return time.monotonic() - began_s

    async def close(self) -> None:
        await self._publisher.delete()
        await self._publisher.connection.close()
        if self._relay is not None:
            self._relay.terminate()
            await self._relay.wait()

    async def _tell(self, line: str) -> None:
        assert self._relay is not None
        assert self._relay.stdin is not None
        self._relay.stdin.write(line.encode())
        await self._relay.stdin.drain()

    async def _through_relay(self, answer: str) -> str:
        """The answer with the relay as the only way to the service."""
        candidate = _LOOPBACK.search(answer)
        assert candidate is not None, answer
        pipe = asyncio.subprocess.PIPE
        self._relay = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.lossy_relay", candidate[1], stdin=pipe, stdout=pipe
        )
        assert self._relay.stdout is not None
        port = int(await self._relay.stdout.readline())
        moved = candidate[0].replace(f" {candidate[1]} typ", f" {port} typ")
        kept = [line for line in answer.splitlines() if not line.startswith("a=candidate:") or line == candidate[0]]
        return "\r\n".join(moved if line == candidate[0] else line for line in kept) + "\r\n"


@asynccontextmanager
async def lossy_call(client: httpx.AsyncClient, stream: str) -> AsyncIterator[LossyCall]:
    call = LossyCall(client, stream)
    await call.start()
    try:
        yield call
    finally:
        await call.close()
