"""Offset tracker: media of future windows is never committed past, all other media is released."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.offset_tracker import OffsetTracker, committable, needed_from_s
from stream.config import WindowConfig

WINDOWS = WindowConfig(window_s=4.0, hop_s=0.5)


def test_the_next_window_starts_one_hop_later() -> None:
    assert needed_from_s(10.0, WINDOWS) == 6.5
    assert needed_from_s(1.0, WINDOWS) == 0.0


def test_a_partition_waits_for_its_slowest_stream() -> None:
    assert committable(100, [None, 80, 90]) == 80
    assert committable(100, [None, None]) == 100
    assert committable(100, []) == 100


def test_a_stream_without_verdicts_holds_its_first_record() -> None:
    starts = OffsetTracker()
    assert starts.oldest is None
    starts.add(7, 3.0, can_start=False)
    starts.add(8, 3.1, can_start=True)
    assert starts.oldest == 7
    starts.release_before(3.05)
    assert starts.oldest == 7, "what is needed began before the key frame"
    starts.release_before(3.1)
    assert starts.oldest == 8


def test_units_are_held_from_their_key_frame_on() -> None:
    starts = OffsetTracker()
    for number in range(90):
        starts.add(number, number / 30, can_start=number % 30 == 0)
    starts.release_before(1.9)
    assert starts.oldest == 30


records = st.lists(st.tuples(st.floats(0, 0.5), st.booleans()), min_size=1, max_size=60)


@given(records, st.lists(st.floats(0, 30), max_size=5))
def test_reading_from_the_oldest_offset_covers_all_needed_media(
    steps: list[tuple[float, bool]], wishes: list[float]
) -> None:
    starts, pts_s, rows = OffsetTracker(), 0.0, []
    for offset, (step_s, can_start) in enumerate(steps):
        pts_s += step_s
        rows.append((offset, pts_s, can_start or offset == 0))
        starts.add(offset, pts_s, can_start)
    for from_s in sorted(wishes):
        starts.release_before(from_s)
        assert starts.oldest is not None
        (begin,) = [row for row in rows if row[0] == starts.oldest]
        assert begin[2], "decoding can begin there"
        assert begin[1] <= from_s or begin[0] == 0
        later = [row for row in rows if row[2] and row[0] > begin[0] and row[1] <= from_s]
        assert not later, "and no later partition_id would do"
