from __future__ import annotations

import itertools

import pytest

from stream.evidence_buffer import KEEP_S, PER_TRACK, PICTURED, EvidenceBuffer
from stream.incident_case import AlarmOver, IncidentCase, incident_id
from stream.types import CloseReason
from tests.stream.cases import Watched, opened_case, suspect
from tests.stream.observations import face


def test_an_alarm_opens_once_with_its_evidence() -> None:
    watched = Watched()
    for number in range(-1, 30):
        watched.see(number, suspect(), pictured=True)
    (case,) = watched.changes
    assert isinstance(case, IncidentCase)
    first = next(verdict for verdict in watched.verdicts if verdict.alarm)
    assert case.verdict == first
    assert case.id == incident_id(first)
    assert case.tracks == (1,)
    assert case.opened_s == 1000.0 + first.end_s
    assert [seen.cell for seen in case.samples] == [5 * n for n in range(-1, len(case.samples) - 1)]
    assert case.base is None, "it led from the beginning"
    assert len(case.pictured) == PER_TRACK
    assert all(seen.faces[0].heat_map for seen in case.pictured)
    assert not any(seen.faces[0].heat_map or seen.pictures or seen.preview_jpeg for seen in case.samples)


def test_an_alarm_closes_when_the_evidence_falls_and_can_reopen() -> None:
    watched = Watched()
    llrs = [3.0] * 20 + [-4.0] * 40 + [3.0] * 30
    for number, llr in enumerate(llrs, -1):
        watched.see(number, face(llr=llr))
    kinds = [type(change) for change in watched.changes]
    assert kinds == [IncidentCase, AlarmOver, IncidentCase]
    first, over, second = watched.changes
    assert isinstance(first, IncidentCase)
    assert isinstance(over, AlarmOver)
    assert isinstance(second, IncidentCase)
    assert over.reason is CloseReason.ALARM_OVER
    assert first.id != second.id


def test_an_open_alarm_closes_when_the_stream_ends() -> None:
    watched = Watched()
    assert watched.watch.end(5.0) is None
    for number in range(-1, 20):
        watched.see(number, suspect())
    ended = watched.watch.end(2000.0)
    assert ended is not None
    assert (ended.reason, ended.closed_s, ended.end_s) == (CloseReason.STREAM_ENDED, 2000.0, watched.verdicts[-1].end_s)
    assert watched.watch.end(2001.0) is None


def test_a_takeover_does_not_reopen_an_open_alarm() -> None:
    first = Watched()
    for number in range(-1, 20):
        first.see(number, suspect())
    second = Watched()
    second.watch.restore(first.verdicts[-1])
    second.monitor.restore(first.verdicts[-1])
    for number in range(10, 80):
        second.see(number, face(llr=-4.0) if number >= 20 else suspect())
    assert [type(change) for change in second.changes] == [AlarmOver]


def test_the_buffer_is_bounded_and_reaches_back_a_minute() -> None:
    watched = Watched()
    for number in range(-1, 700):
        watched.see(number, *(face(track, -1.0 + number % 5) for track in range(1, 8)), pictured=number % 2 == 0)
        if number == 600:
            watched.changes.clear()
    buffer: EvidenceBuffer = watched.watch._buffer
    newest_s = watched.verdicts[-1].end_s
    assert buffer.base is not None
    assert KEEP_S <= newest_s - buffer.base.end_s <= KEEP_S + 11
    assert newest_s - 82 <= buffer.samples[0].pts_s <= buffer.base.end_s - 4
    assert len(buffer.pictured) <= PICTURED
    assert all(seen.pts_s >= newest_s - KEEP_S - 1 for seen in buffer.pictured)


@pytest.mark.parametrize("best", [3, 17, 40])
def test_the_most_suspicious_pictures_of_each_face_stay(best: int) -> None:
    watched = Watched()
    strength = itertools.cycle([1.0, 1.1, 1.2])
    for number in range(-1, 60):
        watched.see(number, suspect(3.9 if number == best else next(strength), 1), suspect(0.5, 2), pictured=True)
    kept = watched.watch._buffer.pictured
    assert best in [seen.cell // 5 for seen in kept]
    assert 2 * PER_TRACK >= len(kept) >= PER_TRACK
    assert [seen.cell for seen in kept] == sorted(seen.cell for seen in kept)


def test_the_incident_id_depends_on_the_verdict_alone() -> None:
    assert opened_case().id == opened_case().id
    assert opened_case("other").id != opened_case().id
    assert opened_case().id.removeprefix("inc_").isalnum()
