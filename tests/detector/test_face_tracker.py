from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.face_tracker import FaceTracker, TrackerConfig
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

STEP_S = 0.5


def face(x: float, y: float, size: float = 100.0, confidence: float = 0.99) -> DetectedFace:
    half = size / 2
    return DetectedFace(FaceBox(x - half, y - half, x + half, y + half), confidence, np.zeros((5, 2), np.float32))


def ids(tracker: FaceTracker, pts_s: float, *faces: DetectedFace) -> list[int]:
    return [item.track for item in tracker.update(pts_s, faces)]


coordinates = st.floats(-200, 2000, allow_nan=False)
some_faces = st.lists(st.builds(face, coordinates, coordinates, st.floats(1, 400)), max_size=8)
frames = st.lists(st.tuples(st.floats(0, 3), some_faces), max_size=12)


def test_a_face_at_rest_keeps_its_id() -> None:
    tracker = FaceTracker()
    assert [ids(tracker, step * STEP_S, face(300, 200)) for step in range(10)] == [[0]] * 10


def test_faces_are_returned_as_given_and_in_order() -> None:
    small, large = face(100, 100, 40), face(400, 100, 200)
    items = FaceTracker().update(0.0, (small, large))
    assert [item.face for item in items] == [small, large]
    assert len({item.track for item in items}) == 2


def test_a_nodding_face_keeps_its_id_at_two_samples_per_second() -> None:
    tracker = FaceTracker()
    places = [(300, 200), (345, 220), (260, 190), (330, 240), (280, 180), (350, 200)]
    assert {ids(tracker, step * STEP_S, face(*place))[0] for step, place in enumerate(places)} == {0}


def test_an_approaching_face_keeps_its_id() -> None:
    tracker = FaceTracker()
    assert {ids(tracker, step * STEP_S, face(300, 200, 60 * 1.3**step))[0] for step in range(7)} == {0}


def test_a_briefly_occluded_face_keeps_its_id() -> None:
    tracker = FaceTracker()
    ids(tracker, 0.0, face(300, 200))
    assert ids(tracker, 0.5) == []
    assert ids(tracker, 1.9, face(310, 205)) == [0]


def test_a_face_unseen_beyond_expiry_gets_a_new_id() -> None:
    tracker = FaceTracker(TrackerConfig(expire_s=2.0))
    ids(tracker, 0.0, face(300, 200))
    assert ids(tracker, 2.1, face(300, 200)) == [1]


def test_a_distant_face_gets_a_new_id() -> None:
    tracker = FaceTracker()
    ids(tracker, 0.0, face(100, 200))
    assert ids(tracker, 1.5, face(500, 200)) == [1]


def test_a_much_smaller_face_in_the_same_place_gets_a_new_id() -> None:
    tracker = FaceTracker()
    ids(tracker, 0.0, face(300, 200, 200))
    assert ids(tracker, 0.5, face(300, 200, 50)) == [1]


@pytest.mark.parametrize("step_s", [0.04, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("offset_px", [0, 20, 60])
def test_crossing_faces_are_not_swapped(step_s: float, offset_px: float) -> None:
    """Two faces of 100 px cross, each at 1.5 face sizes per second."""
    tracker = FaceTracker()
    seen = set()
    for step in range(int(4 / step_s) + 1):
        along = 1.5 * 100 * step * step_s
        seen.add(tuple(ids(tracker, step * step_s, face(100 + along, 200), face(700.3 - along, 200 + offset_px))))
    assert len(seen) == 1


def test_ids_survive_a_crossing_with_one_face_hidden() -> None:
    tracker = FaceTracker()
    last: Sequence[int] = ()
    for step in range(41):
        along = 15.0 * step
        faces = [face(100 + along, 200), face(700 - along, 200)]
        if 16 <= step <= 24:
            assert ids(tracker, step * 0.1, faces[0]) == [0]
        else:
            last = ids(tracker, step * 0.1, *faces)
    assert last == [0, 1]


def test_neighbours_that_move_sideways_keep_their_ids() -> None:
    tracker = FaceTracker()
    assert ids(tracker, 0.0, face(200, 200), face(330, 200)) == [0, 1]
    assert ids(tracker, 0.5, face(260, 200), face(390, 200)) == [0, 1]


def test_the_same_pts_twice_changes_nothing() -> None:
    tracker = FaceTracker()
    assert ids(tracker, 1.0, face(300, 200)) == ids(tracker, 1.0, face(302, 200)) == [0]


def test_a_late_frame_is_taken_as_simultaneous() -> None:
    tracker = FaceTracker()
    ids(tracker, 10.0, face(300, 200))
    assert ids(tracker, 9.5, face(302, 200)) == [0]
    assert ids(tracker, 10.5, face(304, 200)) == [0]


def test_a_jump_back_ends_all_tracks() -> None:
    tracker = FaceTracker()
    ids(tracker, 100.0, face(300, 200))
    assert ids(tracker, 0.0, face(300, 200)) == [1]
    assert ids(tracker, 0.5, face(300, 200)) == [1]


@pytest.mark.parametrize("pts_s", [math.nan, math.inf, -math.inf])
def test_a_frame_without_a_time_counts_as_simultaneous(pts_s: float) -> None:
    tracker = FaceTracker()
    ids(tracker, 1.0, face(300, 200))
    assert ids(tracker, pts_s, face(300, 200)) == [0]
    assert ids(tracker, 1.5, face(300, 200)) == [0]


def test_the_first_frame_may_have_no_time() -> None:
    tracker = FaceTracker()
    assert ids(tracker, math.nan, face(300, 200)) == [0]
    assert len(ids(tracker, math.nan, face(300, 200))) == 1


def test_of_too_many_faces_the_largest_are_tracked() -> None:
    tracker = FaceTracker(TrackerConfig(max_tracks=3))
    crowd = [face(300 * place, 200, 50 + place) for place in range(5)]
    assert [item.face for item in tracker.update(0.0, crowd)] == crowd[2:]


def test_new_tracks_replace_those_unseen_longest() -> None:
    tracker = FaceTracker(TrackerConfig(max_tracks=2))
    assert ids(tracker, 0.0, face(100, 200)) == [0]
    assert ids(tracker, 0.1, face(900, 200)) == [1]
    assert ids(tracker, 0.2, face(1700, 200)) == [2]
    assert ids(tracker, 0.3, face(900, 200)) == [1]
    assert ids(tracker, 0.4, face(100, 200)) == [3]


@settings(deadline=None)
@given(frames)
def test_ids_are_unique_per_frame_and_count_up(sequence: list[tuple[float, list[DetectedFace]]]) -> None:
    tracker, now_s, next_id = FaceTracker(TrackerConfig(max_tracks=4)), 0.0, 0
    last_seen: dict[int, float] = {}
    for gap_s, faces in sequence:
        now_s += gap_s
        given_ids = ids(tracker, now_s, *faces)
        assert len(set(given_ids)) == len(given_ids) == min(len(faces), 4)
        for track in sorted(given_ids):
            assert track in last_seen or track == next_id
            next_id = max(next_id, track + 1)
            assert now_s - last_seen.get(track, now_s) <= TrackerConfig().expire_s
            last_seen[track] = now_s


@settings(deadline=None)
@given(frames, st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_the_order_of_faces(
    sequence: list[tuple[float, list[DetectedFace]]], shuffler: random.Random
) -> None:
    tracker, shuffled_tracker, now_s = FaceTracker(), FaceTracker(), 0.0
    for gap_s, faces in sequence:
        now_s += gap_s
        shuffled = shuffler.sample(faces, len(faces))
        expected = sorted((_place(item.face), item.track) for item in tracker.update(now_s, faces))
        assert sorted((_place(item.face), item.track) for item in shuffled_tracker.update(now_s, shuffled)) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), some_faces), max_size=12))
def test_arbitrary_times_raise_nothing(sequence: list[tuple[float, list[DetectedFace]]]) -> None:
    tracker = FaceTracker()
    for pts_s, faces in sequence:
        given_ids = ids(tracker, pts_s, *faces)
        assert len(set(given_ids)) == len(faces)


def _place(item: DetectedFace) -> tuple[float, float, float, float]:
    return item.box.left, item.box.top, item.box.right, item.box.bottom
