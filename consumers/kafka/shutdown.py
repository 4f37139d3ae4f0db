"""Complete shutdown of an aiokafka consumer, even while one of its fetches waits for a retry."""

from __future__ import annotations

import asyncio
from typing import Any


async def stop(consumer: Any) -> None:
    """Calls `consumer.stop()` and closes what it leaves open.

    aiokafka awaits its cancelled fetches without a guard. One that waits for a retry raises CancelledError out of
    `stop`, as if the caller had been cancelled, and leaves connections and tasks open.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        fetches = tuple(consumer._fetcher._pending_tasks)
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        await consumer._client.close()
