from __future__ import annotations

import msgspec
import pytest

from stream.call_history import ENDED_KEPT, KEPT_S, MARKS_KEPT, CallHistory
from stream.errors import StreamUnknown
from stream.events import IncidentClosed, IncidentOpened, StreamEnded, StreamGap, StreamStalled
from stream.types import CloseReason, EndReason, FrameCounts
from tests.api.calls import started
from tests.stream.test_suspicious_frames import PICTURED
from tests.stream.verdicts import judged


def ended(stream: str = "call", epoch: int = 7) -> StreamEnded:
    return StreamEnded(stream=stream, epoch=epoch, reason=EndReason.STOPPED, message="", frames=FrameCounts())


def opened(incident: str, at_s: float) -> IncidentOpened:
    return IncidentOpened(
        id=incident, stream="call", epoch=7, verdict="call/7/9", opened_s=5.0, pts_s=at_s, tracks=(1,), prob_fake=0.9,
        suspicion=1.0, model=None, rules_sha256="", source="whip",
    )


def begun(stream: str = "call", epoch: int = 7) -> CallHistory:
    records = CallHistory(0.5)
    records.follow(msgspec.structs.replace(started(stream), epoch=epoch), 0.0)
    return records


def test_history_is_kept_from_start_until_some_time_after_the_end() -> None:
    records = begun()
    for number in range(1, 9):
        records.follow(judged(number), 1.0)
    records.follow(ended(), 2.0)
    record = records.get("call", None, 2.0 + KEPT_S)
    assert len(record.timeline.buckets) == 8
    assert record.verdict == judged(8)
    assert record.ended is not None
    with pytest.raises(StreamUnknown):
        records.get("call", None, 2.1 + KEPT_S)


def test_marks_are_sorted_by_time_and_gaps_never_displace_alarms() -> None:
    records = begun()
    records.follow(opened("inc_1", 4.0), 0.0)
    for number in range(2 * MARKS_KEPT):
        records.follow(StreamGap(stream="call", epoch=7, cause="queue_full", from_s=float(number)), 0.0)
    records.follow(StreamStalled(stream="call", epoch=7, silent_s=5.0, from_s=900.0), 0.0)
    records.follow(
        IncidentClosed(
            id="inc_1", stream="call", epoch=7, reason=CloseReason.ALARM_OVER, opened_s=5.0, closed_s=6.0, pts_s=901.0
        ), 0.0,
    )
    marks = records.get("call", 7, 0.0).marks
    assert [mark.at_s for mark in marks] == sorted(mark.at_s for mark in marks)
    assert len(marks) <= MARKS_KEPT
    assert [(m.kind, m.incident, m.why) for m in marks if m.incident] == [
        ("alarm_opened", "inc_1", ""), ("alarm_closed", "inc_1", "alarm_over"),
    ]
    assert [mark.kind for mark in marks if mark.at_s == 900.0] == ["stalled"]


def test_each_epoch_has_its_own_record_and_the_newest_is_the_default() -> None:
    records = begun()
    records.follow(judged(1), 0.0)
    records.follow(ended(), 0.0)
    records.follow(msgspec.structs.replace(started("call"), epoch=8), 1.0)
    assert records.epochs("call", 1.0) == (7, 8)
    assert records.get("call", None, 1.0).started.epoch == 8
    assert records.get("call", 7, 1.0).verdict == judged(1)
    with pytest.raises(StreamUnknown):
        records.get("call", 9, 1.0)


def test_ended_calls_are_bounded_and_running_ones_stay() -> None:
    records = begun("running", 1)
    for number in range(ENDED_KEPT + 5):
        name = f"call-{number}"
        records.follow(msgspec.structs.replace(started(name), epoch=7), 0.0)
        records.follow(ended(name), float(number))
    known = [n for n in range(ENDED_KEPT + 5) if records.epochs(f"call-{n}", 100.0)]
    assert known == list(range(5, ENDED_KEPT + 5))
    assert records.epochs("running", 100.0) == (1,)


def test_events_of_unknown_epochs_are_ignored() -> None:
    records = begun()
    records.follow(judged(1, epoch=6), 0.0)
    records.pictured(msgspec.structs.replace(PICTURED, epoch=6))
    assert records.epochs("call", 0.0) == (7,)
    records.pictured(msgspec.structs.replace(PICTURED, epoch=7, stream="call"))
    assert len(records.get("call", None, 0.0).suspicious_frames.pictured) == 1
