"""A message broker as the rest of the package sees it. Implemented by `consumers.kafka.broker` and
`tests.memory_broker.broker`.

Everything is used from one event loop. Partitions are chosen by the key (murmur2, as Java's client does) unless given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Headers = tuple[tuple[str, bytes | None], ...]


class PartitionId(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Unreadable(NamedTuple):
    """Why a batch of records cannot be read, and the offset of its last record."""

    last_offset: int
    problem: str


class Record(NamedTuple):
    """One record of a partition. `timestamp_ms` is Unix time in milliseconds.

    `unreadable` marks a batch that is damaged or compressed in an unknown way: it stands for all records from `offset`
    to its last offset, has no key and no value, and reading goes on behind it.
    """

    place: PartitionId
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    unreadable: Unreadable | None = None

    @property
    def next_offset(self) -> int:
        """The offset after this record, or after the batch that it stands for."""
        return 1 + (self.offset if self.unreadable is None else self.unreadable.last_offset)


class Message(NamedTuple):
    """One record to be written; `partition` None leaves the choice to the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Batch(NamedTuple):
    """Records in order of offset per partition, and the generation of the group in which they were taken."""

    generation: int
    records: tuple[Record, ...]


class Listener(Protocol):
    """What a member of a group is told, while its `take` gives nothing. Neither may raise, or wait for a `take`.

    `revoked` may take a moment to finish what is in hand, and may commit. A rebalance resumes what was paused.
    """

    async def revoked(self, places: Collection[PartitionId]) -> None:
        """These partitions are no longer ours, though `assigned` may bring them back."""

    async def assigned(self, places: Collection[PartitionId]) -> None:
        """These partitions are ours from now on, and no others; reading starts at the committed offsets."""


class Writer(Protocol):
    """Writes records. May be shared by tasks; sends in flight are bounded."""

    async def write(self, message: Message) -> int:
        """Returns the offset once all replicas have the record. Raises BrokerUnreachable, RecordTooLarge, TopicMissing.

        After BrokerUnreachable the record may be there all the same."""
        ...

    async def close(self) -> None:
        """Waits for what is in flight. Idempotent."""


class Member(Protocol):
    """A member of a consumer group. Call `take` every few seconds, paused or not, or the group gives up on it."""

    async def take(self, limit: int, timeout_s: float) -> Batch:
        """Up to `limit` records of partitions that are not paused; waits up to `timeout_s` for the first.

        Never any that were taken before the latest rebalance. While the broker is away there are simply none: `lag`
        tells. Raises BrokerUnreachable, BrokerRefused.
        """
        ...

    async def commit(self, offsets: Mapping[PartitionId, int], generation: int) -> None:
        """Where to start next time, per partition. Raises GenerationLost, BrokerUnreachable."""

    async def pause(self, places: Collection[PartitionId], paused: bool) -> None:
        """Stops or resumes reading these partitions; places that are not ours are ignored."""

    async def rewind(self, offsets: Mapping[PartitionId, int]) -> None:
        """Goes on from these offsets; places that are not ours are ignored. Not while a `take` waits."""

    async def lag(self) -> dict[PartitionId, int]:
        """Records behind the end, per assigned partition. Raises BrokerUnreachable."""
        ...

    async def close(self) -> None:
        """Leaves the group (a static member keeps its place until the session times out). Idempotent."""


class Reader(Protocol):
    """Reads partitions from a chosen point, without a group."""

    async def ends(self) -> dict[PartitionId, int]:
        """The offset after the newest record, per partition. Raises BrokerUnreachable."""
        ...

    async def seek(self, offsets: Mapping[PartitionId, int]) -> None:
        """Goes on from these offsets; partitions not named are not read."""

    async def seek_to_time(self, unix_s: float) -> dict[PartitionId, int]:
        """Goes on from the first record at or after this time, in all partitions, and says which offsets those are.

        Raises BrokerUnreachable.
        """
        ...

    async def take(self, limit: int, timeout_s: float) -> tuple[Record, ...]:
        """As `Member.take`. Raises BrokerUnreachable."""
        ...

    async def close(self) -> None:
        """Idempotent."""


class Broker(Protocol):
    """The way into one cluster. Nothing is connected before a member, reader or writer is asked for.

    All raise BrokerUnreachable if no broker answers in time, BrokerRefused if it does not let us in, TopicMissing.
    A member may be told what it is assigned before or after it is returned.
    """

    async def writer(self) -> Writer: ...

    async def member(self, group: str, topics: Sequence[str], listener: Listener) -> Member: ...

    async def reader(self, topics: Sequence[str]) -> Reader: ...
