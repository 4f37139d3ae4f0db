"""Incident components of a running service: database, publisher, webhook workers and maintenance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from api.errors import StorageUnavailable
from api.incidents.database import Database
from api.incidents.evidence_cipher import EvidenceCipher
from api.incidents.incident_publisher import IncidentPublisher
from api.incidents.incident_queries import IncidentQueries
from api.incidents.incident_store import IncidentStore
from api.incidents.kept_data import KeptData
from api.incidents.signed_urls import UrlSigner
from api.incidents.webhook_outbox import WebhookOutbox
from api.incidents.webhook_sender import WebhookSender, WebhookTarget
from api.incidents.webhook_worker import WebhookWorker
from api.settings.base import Settings
from stream.event_bus import EventBus
from stream.event_sink import DirectEventSink
from stream.stream_service import StreamService

log = structlog.get_logger(__name__)

MAINTENANCE_INTERVAL_S = 30.0
RETENTION_INTERVAL_S = 3600.0
_FAULT_INTERVAL_S = 5.0         # readiness follows these attempts
_ANSWER_S = 15.0                # above all limits of the database itself
_MAX_WAITING = 64
_THREADS = 4
_DAY_S = 86400.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class IncidentConfig:
    """Incident configuration. `database_url` may hold a password and is not in the repr.

    Closed incidents are deleted after `days`. The first of `evidence_keys` encrypts, all decrypt.
    `private_targets` allows webhooks to non-public addresses.
    """

    database_url: str = field(repr=False)
    days: int = 30
    evidence_keys: tuple[bytes, ...] = field(default=(), repr=False)
    targets: tuple[WebhookTarget, ...] = ()
    private_targets: bool = False


def incident_config(settings: Settings) -> IncidentConfig:
    """Returns the incident configuration of these settings."""
    return IncidentConfig(
        database_url=settings.database_url.get_secret_value(),
        days=settings.incident_days,
        evidence_keys=settings.decoded_evidence_keys,
        targets=tuple(WebhookTarget(url, secret) for url, secret in settings.signed_webhooks),
        private_targets=settings.webhook_private,
    )


class IncidentService:
    """The incident components that routes use.

    `queries`, `kept_data` and `outbox` block: call them with `run_in_thread`.
    """

    publisher: IncidentPublisher

    def __init__(
        self, database: Database, signer: UrlSigner, executor: ThreadPoolExecutor, cipher: EvidenceCipher
    ) -> None:
        self.queries = IncidentQueries(database, cipher)
        self.kept_data = KeptData(database)
        self.outbox = WebhookOutbox(database)
        self.urls = signer
        self.webhook_workers: tuple[WebhookWorker, ...] = ()
        self._database = database
        self._executor = executor
        self._waiting = 0
        self._late = False

    def wake_webhooks(self) -> None:
        """Makes the webhook workers look for queued messages now."""
        for worker in self.webhook_workers:
            worker.wake()

    @property
    def fault(self) -> str:
        """Why the database cannot be used: the driver's error class; empty while it works."""
        return self._database.fault or ("TimeoutError" if self._late else "")

    async def run_in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Runs a blocking function in the incident thread pool.

        Raises StorageUnavailable if the database fails, if it does not answer in `_ANSWER_S` seconds, or if too many
        calls wait for it.
        """
        if self._waiting >= _MAX_WAITING:
            raise StorageUnavailable("TooManyWaiting")
        self._waiting += 1
        try:
            async with asyncio.timeout(_ANSWER_S):
                result = await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*arguments))
        except TimeoutError:
            self._late = True
            raise StorageUnavailable("TimeoutError") from None
        finally:
            self._waiting -= 1
        self._late = False
        return result


@asynccontextmanager
async def running_incidents(config: IncidentConfig, bus: EventBus) -> AsyncIterator[IncidentService]:
    """Runs the incident components for the block. Raises SettingsRefused if the database is unusable."""
    async with AsyncExitStack() as stack:
        executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="incidents")
        stack.callback(executor.shutdown)
        loop = asyncio.get_running_loop()
        database = await loop.run_in_executor(executor, Database, config.database_url)
        stack.callback(database.close)
        cipher = EvidenceCipher(config.evidence_keys)
        store = IncidentStore(database, [target.url for target in config.targets], cipher)
        sender = WebhookSender(config.private_targets)
        stack.push_async_callback(sender.close)
        signer = UrlSigner(await loop.run_in_executor(executor, store.url_key))
        incidents = IncidentService(database, signer, executor, cipher)
        incidents.webhook_workers = tuple(WebhookWorker(t, incidents.outbox, sender, executor) for t in config.targets)
        publisher = incidents.publisher = IncidentPublisher(bus, store, executor, incidents.wake_webhooks)
        maintenance = _Maintenance(config, store, incidents, bus)
        background = (publisher.run(), maintenance.run(), *(each.run() for each in incidents.webhook_workers))
        tasks = [loop.create_task(work) for work in background]
        stack.push_async_callback(_end, tasks)
        stack.push_async_callback(publisher.settle)
        yield incidents


@asynccontextmanager
async def recorded_alarms(service: StreamService, publisher: IncidentPublisher, bus: EventBus) -> AsyncIterator[None]:
    """Routes the events and alarms of a stream service through the publisher for the block."""
    service.event_sink = publisher
    try:
        yield
    finally:
        await publisher.settle()
        service.event_sink = DirectEventSink(bus)


class _Maintenance:
    """Periodic maintenance: renews leases, closes incidents of dead processes, deletes old incidents."""

    def __init__(self, config: IncidentConfig, store: IncidentStore, incidents: IncidentService, bus: EventBus) -> None:
        self._retention_s = config.days * _DAY_S
        self._store = store
        self._incidents = incidents
        self._bus = bus
        self._deleted_at_s = float("-inf")

    async def run(self) -> None:
        while True:
            try:
                await self._round(time.time())
            except StorageUnavailable as error:
                log.error("incident maintenance waits for the database", error=error.cause)
                await asyncio.sleep(_FAULT_INTERVAL_S)
                continue
            except Exception:
                log.exception("incident maintenance failed")
            await asyncio.sleep(MAINTENANCE_INTERVAL_S)

    async def _round(self, now_s: float) -> None:
        await self._incidents.run_in_thread(self._store.renew_leases, now_s)
        for event in await self._incidents.run_in_thread(self._store.close_abandoned, now_s):
            self._bus.publish(event)
            self._incidents.wake_webhooks()
        if now_s - self._deleted_at_s >= RETENTION_INTERVAL_S:
            self._deleted_at_s = now_s
            if deleted := await self._incidents.run_in_thread(self._store.delete_before, now_s - self._retention_s):
                log.info("old incidents deleted", incidents=deleted)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
