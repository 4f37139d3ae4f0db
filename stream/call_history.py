"""History of running and recently ended calls, for the dashboard. In memory and bounded; no I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from stream.errors import StreamUnknown
from stream.events import IncidentClosed, IncidentOpened, StreamEnded, StreamGap, StreamStalled, StreamStarted, Verdict
from stream.suspicious_frames import SuspiciousFrames
from stream.timeline_buckets import TimelineBuckets

if TYPE_CHECKING:
    from stream.events import Event
    from stream.types import Observation

KEPT_S = 900.0          # seconds after the end of an epoch
ENDED_KEPT = 64
MARKS_KEPT = 200


class TimelineMark(msgspec.Struct, frozen=True, kw_only=True):
    """An event on a call's timeline, at `at_s` seconds of media time.

    `incident` is the id of the alarm's incident. `why` is the cause of a gap, or the reason why an alarm closed.
    """

    kind: Literal["alarm_opened", "alarm_closed", "gap", "stalled"]
    at_s: float
    incident: str = ""
    why: str = ""


class CallRecord:
    """History of one epoch of a stream.

    Overflow policy of marks: the oldest are dropped. Alarms and gaps are bounded separately, so gaps never displace
    alarms.
    """

    def __init__(self, started: StreamStarted, step_s: float) -> None:
        self.started = started
        self.ended: StreamEnded | None = None
        self.verdict: Verdict | None = None
        self.timeline = TimelineBuckets(step_s)
        self.suspicious_frames = SuspiciousFrames()
        self._alarms: deque[TimelineMark] = deque(maxlen=MARKS_KEPT // 2)
        self._gaps: deque[TimelineMark] = deque(maxlen=MARKS_KEPT // 2)

    @property
    def marks(self) -> tuple[TimelineMark, ...]:
        """Alarm and gap marks in order of media time."""
        return tuple(sorted((*self._alarms, *self._gaps), key=lambda mark: mark.at_s))

    def follow(self, event: Event) -> None:
        """Records the next event of this epoch."""
        match event:
            case Verdict():
                self.verdict = event
                self.timeline.add(event)
            case IncidentOpened():
                self._alarms.append(TimelineMark(kind="alarm_opened", at_s=event.pts_s, incident=event.id))
            case IncidentClosed():
                closed = TimelineMark(kind="alarm_closed", at_s=event.pts_s, incident=event.id, why=event.reason.value)
                self._alarms.append(closed)
            case StreamGap():
                self._gaps.append(TimelineMark(kind="gap", at_s=event.from_s, why=event.cause))
            case StreamStalled():
                self._gaps.append(TimelineMark(kind="stalled", at_s=event.from_s))
            case StreamEnded():
                self.ended = event


class CallHistory:
    """Histories of all streams.

    Overflow policy: epochs are dropped in the order in which they ended, at the latest `KEPT_S` after their end. The
    service's admission limit bounds the running ones. `now_s` is monotonic time.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._records: dict[tuple[str, int], CallRecord] = {}
        self._ended_s: dict[tuple[str, int], float] = {}     # monotonic end times, ascending

    def follow(self, event: Event, now_s: float) -> None:
        """Records the next event of any stream."""
        key = event.stream, event.epoch
        if isinstance(event, StreamStarted) and key not in self._records:
            self._records[key] = CallRecord(event, self._step_s)
        if key not in self._records:
            return
        self._records[key].follow(event)
        if isinstance(event, StreamEnded):
            self._ended_s[key] = now_s
            self._forget(now_s)

    def pictured(self, observation: Observation) -> None:
        """Records a sample with pictures."""
        record = self._records.get((observation.stream, observation.epoch))
        if record is not None:
            record.suspicious_frames.add(observation)

    def epochs(self, stream: str, now_s: float) -> tuple[int, ...]:
        """Returns the stream's epochs in ascending order; empty for an unknown stream."""
        self._forget(now_s)
        return tuple(sorted(epoch for known, epoch in self._records if known == stream))

    def get(self, stream: str, epoch: int | None, now_s: float) -> CallRecord:
        """Returns the history of `epoch`, by default the newest. Raises StreamUnknown."""
        epochs = self.epochs(stream, now_s)
        wanted = epoch if epoch is not None else max(epochs, default=-1)
        if wanted not in epochs:
            raise StreamUnknown(f"stream {stream!r} has no history{'' if epoch is None else f' of epoch {epoch}'}")
        return self._records[stream, wanted]

    def of_participant(self, participant_id: str, now_s: float) -> tuple[CallRecord, ...]:
        """Returns the histories of a participant, by start."""
        self._forget(now_s)
        found = (record for record in self._records.values() if record.started.participant_id == participant_id)
        return tuple(sorted(found, key=lambda record: record.started.started_s))

    def of_call(self, call_id: str, now_s: float) -> tuple[CallRecord, ...]:
        """Returns the histories of all participants of a call, by start."""
        self._forget(now_s)
        found = (record for record in self._records.values() if record.started.call_id == call_id)
        return tuple(sorted(found, key=lambda record: record.started.started_s))

    def drop(self, record: CallRecord) -> bool:
        """Drops the history of an ended epoch. Returns False for a running one."""
        key = record.started.stream, record.started.epoch
        if self._ended_s.pop(key, None) is None:
            return False
        del self._records[key]
        return True

    def _forget(self, now_s: float) -> None:
        """Drops expired epochs. `_ended_s` is in order of end times, so they come first."""
        while self._ended_s:
            key, ended_s = next(iter(self._ended_s.items()))
            if ended_s >= now_s - KEPT_S and len(self._ended_s) <= ENDED_KEPT:
                return
            del self._ended_s[key], self._records[key]
