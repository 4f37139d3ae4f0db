"""The protocols between a stream's source, its session and its worker. All calls happen in the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.events import Event
    from stream.types import DropCause, FrameCounts, MediaUnit, Observation
    from stream.worker_messages import OpenStream
    from stream.worker_pool_config import PoolStatus


class StreamSink(Protocol):
    """What a worker pool reports of one stream. None of these may block or raise."""

    def observed(self, observation: Observation) -> None:
        """One sampled instant was examined."""

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        """So many units, the oldest ones, are decoded or given up; what they showed may be observed a little later.

        `refused` has sequence and cause of those that could not be decoded.
        """

    def crashed(self) -> None:
        """The worker crashed or hung on this stream; a gap follows."""

    def keyframe_needed(self) -> None:
        """Decoding can only go on from a key frame; ask the sender for one."""

    def gap(self, cause: DropCause) -> None:
        """Media is missing from here on, until the next observation."""

    def failed(self, cause: DropCause, message: str) -> None:
        """The stream cannot go on; nothing follows."""


class WorkerFeed(Protocol):
    """One stream's way into the pool. Implemented by `stream.worker_pool.WorkerStream`."""

    @property
    def counts(self) -> FrameCounts:
        """Cumulative since the stream was opened, over all workers that had it."""
        ...

    @property
    def waiting(self) -> int:
        """Units that were fed and are not decoded yet."""
        ...

    def feed(self, unit: MediaUnit) -> None:
        """Hands a unit over; never blocks, drops by policy and counts what it drops."""
        ...

    def set_pace(self, pace: int) -> None:
        """Samples this densely from now on (`stream.frame_sampler.Pace`)."""
        ...

    def abandon(self) -> None:
        """Ends at once, with what is not examined yet."""
        ...

    async def close(self) -> FrameCounts:
        """Flushes what can still be examined; returns the final counts. Idempotent."""
        ...


class Workers(Protocol):
    """Those who decode and examine. Implemented by `stream.worker_pool.WorkerPool`."""

    @property
    def status(self) -> PoolStatus: ...

    def open(self, spec: OpenStream, sink: StreamSink) -> WorkerFeed:
        """A new stream, which waits where nobody is ready. Raises StreamExists, WorkerLost."""
        ...


class Elsewhere(Protocol):
    """Who takes the units of live streams instead of the pool, for another process to examine."""

    def open(self, spec: OpenStream, sink: StreamSink) -> WorkerFeed:
        """As `Workers.open`."""
        ...

    def is_told_here(self, event: Event) -> bool:
        """Whether what a session here says is to be passed on."""
        ...


class SourceControl(Protocol):
    """What the service may ask of a source, such as a WHIP peer."""

    def request_keyframe(self) -> None:
        """Asks the sender for a key frame; cheap and non-blocking."""

    async def close(self) -> None:
        """Hangs up. Idempotent; must not call back into the service."""
