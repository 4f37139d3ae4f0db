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
    """Receives a worker pool's reports on one stream. No method may block or raise."""

    def observed(self, observation: Observation) -> None:
        """Takes the result for one sampled instant."""

    def used(self, units: int, refused: Sequence[tuple[int, DropCause]]) -> None:
        """Reports that the oldest `units` are decoded or dropped; their observations may follow a little later.

        `refused` holds the sequence and the cause of each unit that could not be decoded.
        """

    def crashed(self) -> None:
        """Reports that the worker crashed or hung on this stream; a gap follows."""

    def keyframe_needed(self) -> None:
        """Reports that decoding needs a key frame, which the sender has to send."""

    def gap(self, cause: DropCause) -> None:
        """Reports that media is missing from here to the next observation."""

    def failed(self, cause: DropCause, message: str) -> None:
        """Reports that the stream cannot continue; nothing follows."""


class WorkerFeed(Protocol):
    """Feeds one stream's units to a worker. Implemented by `stream.worker_stream.WorkerStream`."""

    @property
    def counts(self) -> FrameCounts:
        """Cumulative counts since the stream was opened, over all its workers."""
        ...

    @property
    def waiting(self) -> int:
        """The number of units that were fed and are not decoded yet."""
        ...

    def feed(self, unit: MediaUnit) -> None:
        """Takes a unit; never blocks, drops by policy and counts the drops."""
        ...

    def set_pace(self, pace: int) -> None:
        """Sets the sampling density (`stream.frame_sampler.Pace`) from now on."""
        ...

    def abandon(self) -> None:
        """Ends at once and discards all units that are not examined yet."""
        ...

    async def close(self) -> FrameCounts:
        """Examines the remaining units and returns the final counts. Idempotent."""
        ...


class Workers(Protocol):
    """Decode and examine streams. Implemented by `stream.worker_pool.WorkerPool`."""

    @property
    def status(self) -> PoolStatus: ...

    def open(self, spec: OpenStream, sink: StreamSink) -> WorkerFeed:
        """Opens a stream; it waits until a worker is ready. Raises StreamExists, WorkerLost."""
        ...


class RemoteWorkers(Protocol):
    """Examine live streams in other processes, in place of the pool. Implemented by `consumers.edge.Edge`."""

    def open(self, spec: OpenStream, sink: StreamSink) -> WorkerFeed:
        """As `Workers.open`."""
        ...

    def publishes_here(self, event: Event) -> bool:
        """Whether this process publishes this event of its session; the remote worker publishes the others."""
        ...


class SourceControl(Protocol):
    """The part of a source, such as a WHIP session, that its stream uses."""

    def request_keyframe(self) -> None:
        """Asks the sender for a key frame; cheap and non-blocking."""

    async def close(self) -> None:
        """Closes the connection. Idempotent; must not call back into the service."""
