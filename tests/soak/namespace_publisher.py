"""Publishes one live-encoded call until it is killed. A line on standard input requests the number of encoded frames.

    python -m tests.soak.namespace_publisher URL KEY"""

from __future__ import annotations

import asyncio
import sys

from tests.api.publisher import MovingPicture, Publisher


async def main(url: str, key: str) -> None:
    publisher = Publisher(url, token=key, track=MovingPicture(320, 240, noise=24))
    await publisher.publish(patient=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(publisher.track.number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
