from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.suspicious_frames import KEPT, SuspiciousFrames
from tests.stream.cases import pictures_of, suspect
from tests.stream.observations import observation

if TYPE_CHECKING:
    from stream.types import Observation

PICTURED = msgspec.structs.replace(observation(0, (suspect(),)), pictures=pictures_of(observation(0, (suspect(),))))


def seen(number: int, llr: float) -> Observation:
    return msgspec.structs.replace(PICTURED, sequence=number, pts_s=number / 2, faces=(suspect(llr),))


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(-3, 3)), min_size=1, max_size=120))
def test_few_frames_are_kept_including_the_most_suspicious(samples: list[tuple[int, float]]) -> None:
    frames, number = SuspiciousFrames(), 0
    for step, llr in samples:
        number += step
        frames.add(seen(number, llr))
    kept = frames.pictured
    assert len(kept) == min(KEPT, len(samples))
    assert [one.sequence for one in kept] == sorted(one.sequence for one in kept)
    assert max(one.faces[0].llr or 0.0 for one in kept) == max(llr for _, llr in samples)
    assert kept[-1].sequence == number, "the newest stays"


def test_kept_frames_are_spread_over_the_call() -> None:
    frames = SuspiciousFrames()
    for number in range(1000):
        frames.add(seen(number, 1.0))
    times = [one.pts_s for one in frames.pictured]
    assert times[0] < 50
    assert times[-1] > 450
    assert max(later - earlier for earlier, later in pairwise(times)) < 150


def test_samples_without_pictures_and_network_inputs_are_not_kept() -> None:
    frames = SuspiciousFrames()
    frames.add(observation(0, (suspect(),)))
    assert frames.pictured == ()
    frames.add(seen(3, 1.0))
    (kept,) = frames.pictured
    assert kept.pictures is not None
    assert kept.pictures.jpeg == pictures_of(observation(0, (suspect(),))).jpeg
    assert [face.png for face in kept.pictures.faces] == [None]
    assert kept.pictures.faces[0].spectrum
    assert frames.find(3) is kept
    assert frames.find(4) is None


def test_recently_dropped_frames_are_still_found() -> None:
    frames = SuspiciousFrames()
    for number in range(KEPT + 1):
        frames.add(seen(number, 1.0))
    (left,) = set(range(KEPT + 1)) - {one.sequence for one in frames.pictured}
    assert frames.find(left) is not None
    for number in range(KEPT + 1, 10 * KEPT):
        frames.add(seen(number, 1.0))
    assert frames.find(left) is None
    assert sum(frames.find(number) is not None for number in range(10 * KEPT)) == 2 * KEPT
