"""A bad network in a process of its own: UDP to and fro on loopback, of which a share is lost, or for a while all.

    python -m tests.e2e.lossy_relay PORT        says the port that it listens on, then obeys lines on standard input:
    loss SHARE                                  0 to 1, both ways
    blackout SECONDS                            says "over" when it is

PORT is the far end's. Both directions lose independently, by a generator with a fixed seed.
"""

from __future__ import annotations

import asyncio
import random
import sys


class Relay:
    """The first sender to `near` is the near end; the far end sends to `far`."""

    def __init__(self, far_port: int) -> None:
        self.far_address = ("127.0.0.1", far_port)
        self.near_address: tuple[str, int] | None = None
        self.near: asyncio.DatagramTransport | None = None
        self.far: asyncio.DatagramTransport | None = None
        self.share = 0.0
        self.dark = False
        self.dice = random.Random(20)

    def is_lost(self) -> bool:
        return self.dark or self.dice.random() < self.share

    async def open(self) -> int:
        loop = asyncio.get_running_loop()
        self.near, _ = await loop.create_datagram_endpoint(lambda: Near(self), local_addr=("127.0.0.1", 0))
        self.far, _ = await loop.create_datagram_endpoint(lambda: Far(self), local_addr=("127.0.0.1", 0))
        return int(self.near.get_extra_info("sockname")[1])

    async def obey(self, line: str) -> None:
        word, _, value = line.strip().partition(" ")
        if word == "loss":
            self.share = float(value)
        elif word == "blackout":
            self.dark = True
            await asyncio.sleep(float(value))
            self.dark = False
            print("over", flush=True)


class Near(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.relay.near_address = address
        if self.relay.far is not None and not self.relay.is_lost():
            self.relay.far.sendto(data, self.relay.far_address)


class Far(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        relay = self.relay
        if relay.near is not None and relay.near_address is not None and not relay.is_lost():
            relay.near.sendto(data, relay.near_address)


async def main() -> None:
    relay = Relay(int(sys.argv[1]))
    print(await relay.open(), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await relay.obey(line)


if __name__ == "__main__":
    asyncio.run(main())
