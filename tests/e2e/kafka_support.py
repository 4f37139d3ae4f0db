"""`deepguard consume` as real processes on Apache Kafka: what they are given, what they write, how they are hurt."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.config import Topics
from consumers.kafka.broker import KafkaBroker
from consumers.verdict_records import state_of
from stream import event_encoding
from stream.events import StreamEnded, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consumers.broker import Record
    from tests.kafka.cluster import Cluster

SESSION_S = 6


@dataclass(frozen=True)
class Course:
    """The topics and the group of one run; `partitions` of all topics but that of the dead letters."""

    cluster: Cluster
    topics: Topics
    group: str
    partitions: int

    @classmethod
    def on(cls, cluster: Cluster, partitions: int, media: str | None = None) -> Course:
        """New topics and a new group; `media` is a topic that exists already."""
        topics = Topics(
            media=media or cluster.topic("media", partitions),
            verdicts=cluster.topic("verdicts", partitions),
            states=cluster.topic("state", partitions, cleanup_policy="compact,delete"),
            dead_letters=cluster.topic("dlq"),
        )
        return cls(cluster, topics, f"group-{secrets.token_hex(4)}", partitions)

    @property
    def broker(self) -> KafkaBroker:
        return KafkaBroker(self.cluster.config())

    def environment(self, instance: str, **settings: str) -> dict[str, str]:
        return os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "DEEPGUARD_KAFKA_GROUP": self.group,
            "DEEPGUARD_KAFKA_INSTANCE": instance,
            "DEEPGUARD_KAFKA_SESSION_TIMEOUT_S": str(SESSION_S),
            "DEEPGUARD_KAFKA_MEDIA_TOPIC": self.topics.media,
            "DEEPGUARD_KAFKA_VERDICTS_TOPIC": self.topics.verdicts,
            "DEEPGUARD_KAFKA_STATE_TOPIC": self.topics.states,
            "DEEPGUARD_KAFKA_DLQ_TOPIC": self.topics.dead_letters,
            "DEEPGUARD_WORKERS": "1",
            "LOG_DIR": "",
        } | settings

    async def follow(self, topic: str, enough: Callable[[list[Record]], bool], limit_s: float) -> list[Record]:
        """All records of a topic from its beginning, until there are enough of them. Raises TimeoutError."""
        found: list[Record] = []
        reader = await self.broker.reader([topic])
        try:
            await reader.seek(dict.fromkeys(await reader.ends(), 0))
            async with asyncio.timeout(limit_s):
                while not enough(found):
                    found += await reader.take(1000, 0.5)
        finally:
            await reader.close()
        return found

    async def until_ended(self, streams: int, limit_s: float) -> None:
        """Until so many streams have ended."""
        def enough(records: list[Record]) -> bool:
            ended = {r.key for r in records if isinstance(state_of(r), StreamEnded) or r.value is None}
            return len(ended) >= streams

        await self.follow(self.topics.states, enough, limit_s)

    async def verdicts(self) -> list[Verdict]:
        """All that are there now, in order within each stream."""
        reader = await self.broker.reader([self.topics.verdicts])
        try:
            ends = await reader.ends()
        finally:
            await reader.close()
        count = sum(ends.values())
        records = await self.follow(self.topics.verdicts, lambda found: len(found) >= count, 60)
        decoded = [event_encoding.decode(record.value or b"") for record in records]
        return [event for event in decoded if isinstance(event, Verdict)]


@dataclass
class Member:
    """One consumer process, which is replaced as an orchestrator would. `program` is what Python is to run."""

    course: Course
    name: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "api.cli", "consume")
    _process: subprocess.Popen[bytes] | None = None
    _log_from: int = 0

    @property
    def is_working(self) -> bool:
        """Whether this process has joined the group."""
        self.require_alive()
        return b"partitions assigned" in (self.folder / f"{self.name}.log").read_bytes()[self._log_from :]

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._log_from = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, *self.program], stdout=log, stderr=log,
                env=self.course.environment(self.name, **self.settings),
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.require_alive()
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """In order; its status."""
        self.require_alive()
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(60)

    def require_alive(self) -> None:
        """Checks that no process died except those that the test killed."""
        assert self._process is not None
        status = self._process.poll()
        assert status is None, f"{self.name} ended with {status}:\n{self.log}"

    def end(self) -> None:
        """Stops the process in any state."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()[-4000:]
