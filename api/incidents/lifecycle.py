"""Everything around incidents while the service runs: database, publisher, webhook_workers, upkeep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.incidents.config import IncidentConfig
from api.incidents.database import Database
from api.incidents.incident_publisher import IncidentPublisher
from api.incidents.incident_queries import IncidentQueries
from api.incidents.incident_store import IncidentStore
from api.incidents.signed_urls import UrlSigner
from api.incidents.webhook_outbox import WebhookOutbox
from api.incidents.webhook_sender import WebhookSender
from api.incidents.webhook_worker import WebhookWorker
from stream.event_bus import Bus
from stream.event_sink import DirectOutlet
from stream.stream_service import StreamService

log = structlog.get_logger(__name__)

UPKEEP_EVERY_S = 30.0
FORGET_EVERY_S = 3600.0
_THREADS = 4
_DAY_S = 86400.0

Result = TypeVar("Result")


class IncidentService:
    """What the routes use. `records` and `outbox` block: call them through `call`."""

    publisher: IncidentPublisher

    def __init__(self, database: Database, signer: UrlSigner, executor: ThreadPoolExecutor) -> None:
        self.queries = IncidentQueries(database)
        self.outbox = WebhookOutbox(database)
        self.urls = signer
        self.webhook_workers: tuple[WebhookWorker, ...] = ()
        self._executor = executor

    def wake_webhooks(self) -> None:
        """Webhooks may be waiting."""
        for worker in self.webhook_workers:
            worker.wake()

    async def run_in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Runs it in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*arguments))


@asynccontextmanager
async def running_incidents(config: IncidentConfig, bus: Bus) -> AsyncIterator[IncidentService]:
    """Everything that keeps alarms and tells of them. Raises SettingsRefused if the database cannot be used."""
    async with AsyncExitStack() as stack:
        executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="incidents")
        stack.callback(executor.shutdown)
        loop = asyncio.get_running_loop()
        database = await loop.run_in_executor(executor, Database, config.database_url)
        stack.callback(database.close)
        store = IncidentStore(database, [target.url for target in config.targets])
        sender = WebhookSender(config.private_targets)
        stack.push_async_callback(sender.close)
        incidents = IncidentService(database, UrlSigner(await loop.run_in_executor(executor, store.url_key)), executor)
        incidents.webhook_workers = tuple(WebhookWorker(t, incidents.outbox, sender, executor) for t in config.targets)
        publisher = incidents.publisher = IncidentPublisher(bus, store, executor, incidents.wake_webhooks)
        maintenance = _Maintenance(config, store, incidents, bus)
        background = (publisher.run(), maintenance.run(), *(each.run() for each in incidents.webhook_workers))
        tasks = [loop.create_task(work) for work in background]
        stack.push_async_callback(_end, tasks)
        stack.push_async_callback(publisher.settle)
        yield incidents


@asynccontextmanager
async def recorded_alarms(service: StreamService, publisher: IncidentPublisher, bus: Bus) -> AsyncIterator[None]:
    """The alarms of this service go to the publisher meanwhile."""
    service.outlet = publisher
    try:
        yield
    finally:
        await publisher.settle()
        service.outlet = DirectOutlet(bus)


class _Maintenance:
    """Says that this process still watches its incidents, closes those of processes that are gone, forgets old ones."""

    def __init__(self, config: IncidentConfig, store: IncidentStore, incidents: IncidentService, bus: Bus) -> None:
        self._kept_s = config.days * _DAY_S
        self._store = store
        self._incidents = incidents
        self._bus = bus
        self._forgot_s = float("-inf")

    async def run(self) -> None:
        while True:
            try:
                await self._round(time.time())
            except SQLAlchemyError as error:
                log.error("upkeep of incidents waits for the database", error=type(error).__name__)
            except Exception:
                log.exception("upkeep of incidents failed")
            await asyncio.sleep(UPKEEP_EVERY_S)

    async def _round(self, now_s: float) -> None:
        await self._incidents.run_in_thread(self._store.renew_leases, now_s)
        for event in await self._incidents.run_in_thread(self._store.close_abandoned, now_s):
            self._bus.publish(event)
            self._incidents.wake_webhooks()
        if now_s - self._forgot_s >= FORGET_EVERY_S:
            self._forgot_s = now_s
            if forgotten := await self._incidents.run_in_thread(self._store.delete_before, now_s - self._kept_s):
                log.info("old incidents deleted", incidents=forgotten)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
