"""Closing an aiokafka consumer, also while one of its fetches waits to be tried again."""

from __future__ import annotations

import asyncio
from typing import Any


async def stop(consumer: Any) -> None:
    """`consumer.stop()`, to its end.

    aiokafka cancels its fetches and awaits them bare. One that waits after a failure then raises CancelledError out of
    `stop`, as if its caller had been cancelled, and connections and tasks stay. What is left is closed here.
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
