"""Live sessions of one process by stream id, and the streams that ended recently."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from stream.errors import StreamUnknown
from stream.events import Verdict
from stream.types import FrameCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.call_history import CallHistory
    from stream.cusum import EvidenceModel
    from stream.event_sink import EventSink
    from stream.events import Event
    from stream.incident_case import AlarmChange
    from stream.protocols import RemoteWorkers
    from stream.stream_session import Preview, Session
    from stream.types import EndReason, ModelRef, Observation
    from stream.worker_pool import WorkerPool

_REMEMBERED_EPOCHS = 4096


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as lists show it; an ended one stays for `StreamConfig.ended_kept_s`."""

    stream: str
    epoch: int
    source: str
    sample: bool
    call_id: str
    participant_id: str
    started_s: float
    state: Literal["live", "ended"]
    width_px: int
    height_px: int
    verdict: Verdict | None
    frames: FrameCounts


class _Ended(NamedTuple):
    """The last state of a stream, kept until `until_s`, monotonic."""

    until_s: float
    info: StreamInfo
    preview: Preview | None


class SessionTable:
    """Used from one event loop. Ended streams leave after `kept_s` seconds, or beyond `kept` of them."""

    def __init__(self, kept_s: float, kept: int) -> None:
        self._kept_s = kept_s
        self._kept = kept
        self._live: dict[str, Session] = {}
        self._ended: dict[str, _Ended] = {}
        self._epochs: dict[str, int] = {}

    def __len__(self) -> int:
        """The number of live sessions."""
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        """Live sessions in the order they started."""
        return iter(tuple(self._live.values()))

    def __contains__(self, stream: str) -> bool:
        return stream in self._live

    def live(self, stream: str) -> Session:
        """Returns the live session of this stream. Raises StreamUnknown."""
        if stream not in self._live:
            raise StreamUnknown(f"no stream {stream!r} is running")
        return self._live[stream]

    def next_epoch(self, stream: str) -> int:
        """Returns Unix seconds, or one more than the last epoch of this id, so that no epoch occurs twice."""
        epoch = max(int(time.time()), self._epochs.pop(stream, 0) + 1)
        self._epochs[stream] = epoch
        if len(self._epochs) > _REMEMBERED_EPOCHS:
            del self._epochs[next(iter(self._epochs))]
        return epoch

    def add(self, session: Session) -> None:
        self._live[session.stream] = session
        self._ended.pop(session.stream, None)

    def end(self, session: Session) -> None:
        """Moves a live session to those that ended."""
        if self._live.get(session.stream) is session:
            del self._live[session.stream]
            until_s = time.monotonic() + self._kept_s
            self._ended[session.stream] = _Ended(until_s, _info(session, "ended"), session.preview)
            self._forget_ended()

    def list(self) -> tuple[StreamInfo, ...]:
        """Returns running streams in the order they started, then those that ended recently."""
        self._forget_ended()
        live = tuple(_info(session, "live") for session in self._live.values())
        return live + tuple(ended.info for ended in self._ended.values())

    def get(self, stream: str) -> StreamInfo:
        """Returns the state of a live or recently ended stream. Raises StreamUnknown."""
        return _info(self._live[stream], "live") if stream in self._live else self._ended_recently(stream).info

    def preview(self, stream: str) -> Preview | None:
        """Returns the newest sampled frame, if there is one. Raises StreamUnknown."""
        return self._live[stream].preview if stream in self._live else self._ended_recently(stream).preview

    def _ended_recently(self, stream: str) -> _Ended:
        self._forget_ended()
        if stream not in self._ended:
            raise StreamUnknown(f"unknown stream {stream!r}: it is neither running nor recently ended")
        return self._ended[stream]

    def _forget_ended(self) -> None:
        now_s = time.monotonic()
        for stream in [s for s, ended in self._ended.items() if ended.until_s < now_s]:
            del self._ended[stream]
        while len(self._ended) > self._kept:
            del self._ended[next(iter(self._ended))]


class ServiceSessionHost:
    """The `SessionHost` of a stream service: receives the events, alarms and ends of its sessions."""

    def __init__(
        self, table: SessionTable, pool: WorkerPool, records: CallHistory, event_sink: EventSink,
        remote: RemoteWorkers | None,
    ) -> None:
        self.event_sink = event_sink
        self._table = table
        self._pool = pool
        self._records = records
        self._remote = remote
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, event: Event) -> None:
        if self._remote is None or self._remote.publishes_here(event):
            self.event_sink.publish(event)

    def alarm(self, change: AlarmChange) -> None:
        self.event_sink.alarm(change)

    def pictured(self, observation: Observation) -> None:
        self._records.pictured(observation)

    def model(self) -> ModelRef | None:
        return self._pool.status.model

    def evidence(self) -> EvidenceModel | None:
        return self._pool.status.evidence

    def ended(self, session: Session) -> None:
        self._table.end(session)

    def spawn(self, session: Session, reason: EndReason, message: str) -> None:
        task = asyncio.get_running_loop().create_task(_hang_up_and_end(session, reason, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Returns when every session that was to end in a task has ended."""
        await asyncio.gather(*self._tasks)


async def _hang_up_and_end(session: Session, reason: EndReason, message: str) -> None:
    await session.hang_up()
    await session.end(reason, message)


def _info(session: Session, state: Literal["live", "ended"]) -> StreamInfo:
    spec, identity = session.spec, session.spec.identity
    return StreamInfo(
        stream=identity.stream, epoch=session.epoch, source=spec.source, sample=spec.sample,
        call_id=identity.call_id, participant_id=identity.participant_id, started_s=session.started_s, state=state,
        width_px=session.size_px[0], height_px=session.size_px[1], verdict=session.verdict, frames=session.frames,
    )
