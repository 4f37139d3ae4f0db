"""Message-broker protocols: writer, group member, reader. Implemented by `consumers.kafka` and `tests.memory_broker`.

Use each object from one event loop. The key chooses the partition (murmur2, as in the Java client) unless one is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Headers = tuple[tuple[str, bytes | None], ...]


class PartitionId(NamedTuple):
    """A topic and the number of one of its partitions."""

    topic: str
    partition: int


class Unreadable(NamedTuple):
    """Why a batch of records cannot be read, and the offset of its last record."""

    last_offset: int
    problem: str


class Record(NamedTuple):
    """One record of a partition. `timestamp_ms` is Unix time in milliseconds.

    `unreadable` marks a batch that is damaged or has an unknown compression. It represents all records from `offset`
    to its last offset, without key and value; reading continues after it.
    """

    partition_id: PartitionId
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    unreadable: Unreadable | None = None

    @property
    def next_offset(self) -> int:
        """The offset after this record, or after the unreadable batch that it represents."""
        return 1 + (self.offset if self.unreadable is None else self.unreadable.last_offset)


class Message(NamedTuple):
    """A record to write. With `partition` None the key chooses the partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Batch(NamedTuple):
    """Records, in order of offset per partition, and the group generation in which they were taken."""

    generation: int
    records: tuple[Record, ...]


class Listener(Protocol):
    """Rebalance callbacks of a group member. `take` returns nothing while they run.

    Neither may raise or wait for a `take`. `revoked` may commit. A rebalance resumes paused partitions.
    """

    async def revoked(self, partition_ids: Collection[PartitionId]) -> None:
        """Called when the member loses these partitions; `assigned` may return them."""

    async def assigned(self, partition_ids: Collection[PartitionId]) -> None:
        """Called with the complete new assignment; reading starts at the committed offsets."""


class Writer(Protocol):
    """Writes records. Tasks may share it; the number of sends in flight is bounded."""

    async def write(self, message: Message) -> int:
        """Writes a record and returns its offset once all replicas have it.

        Raises BrokerUnreachable, RecordTooLarge, TopicMissing. After BrokerUnreachable the record may still exist.
        """
        ...

    async def close(self) -> None:
        """Waits for sends in flight, then closes. Idempotent."""


class Member(Protocol):
    """Consumer-group member. Call `take` every few seconds, even when paused, or the group removes it."""

    async def take(self, limit: int, timeout_s: float) -> Batch:
        """Returns up to `limit` records of the partitions that are not paused; waits up to `timeout_s` for the first.

        Returns no records from before the latest rebalance, and none while the broker is unreachable, which only `lag`
        reports. Raises BrokerUnreachable, BrokerRefused.
        """
        ...

    async def commit(self, offsets: Mapping[PartitionId, int], generation: int) -> None:
        """Commits the offset of the next record to read, per partition. Raises GenerationLost, BrokerUnreachable."""

    async def pause(self, partition_ids: Collection[PartitionId], paused: bool) -> None:
        """Pauses or resumes reading; ignores partitions that are not assigned."""

    async def rewind(self, offsets: Mapping[PartitionId, int]) -> None:
        """Continues from these offsets; ignores partitions that are not assigned. Do not call it during `take`."""

    async def lag(self) -> dict[PartitionId, int]:
        """Returns the number of unread records per assigned partition. Raises BrokerUnreachable."""
        ...

    async def close(self) -> None:
        """Leaves the group. A static member keeps its partitions until its session times out. Idempotent."""


class Reader(Protocol):
    """Reads partitions from chosen offsets, without a consumer group."""

    async def ends(self) -> dict[PartitionId, int]:
        """Returns the offset after the newest record, per partition. Raises BrokerUnreachable."""
        ...

    async def seek(self, offsets: Mapping[PartitionId, int]) -> None:
        """Continues from these offsets and stops reading all other partitions."""

    async def seek_to_time(self, unix_s: float) -> dict[PartitionId, int]:
        """Continues all partitions from their first record at or after this time, and returns these offsets.

        Raises BrokerUnreachable.
        """
        ...

    async def take(self, limit: int, timeout_s: float) -> tuple[Record, ...]:
        """Takes records as `Member.take` does. Raises BrokerUnreachable."""
        ...

    async def close(self) -> None:
        """Closes the reader. Idempotent."""


class Broker(Protocol):
    """Creates the clients of one cluster. Each method connects.

    All raise BrokerUnreachable if no broker answers in time, BrokerRefused for a refused login, TopicMissing. The
    listener's `assigned` may run before or after `member` returns.
    """

    async def writer(self) -> Writer: ...

    async def member(self, group: str, topics: Sequence[str], listener: Listener) -> Member: ...

    async def reader(self, topics: Sequence[str]) -> Reader: ...
