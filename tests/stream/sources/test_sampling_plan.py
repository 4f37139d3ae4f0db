from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.sources.sampling_plan import PacketEntry, PacketIndex, plan_samples


def timed(frames: int, gop: int = 10, fps: float = 30.0) -> PacketIndex:
    entries = tuple(PacketEntry(n * 100, n * 100 + 100, n % gop == 0) for n in range(frames))
    return PacketIndex(entries, tick_s=1 / (100 * fps), fps=fps, ordered_times=True)


def counted(frames: int) -> PacketIndex:
    entries = tuple(PacketEntry(None, 0, n == 0) for n in range(frames))
    return PacketIndex(entries, tick_s=1 / 30, fps=30.0, ordered_times=False)


@pytest.mark.parametrize("index", [timed(90), counted(90)])
def test_samples_lie_in_the_middle_of_equal_parts(index: PacketIndex) -> None:
    plan = plan_samples(index, max_samples=3, rate_hz=5)
    assert [target.frame_number for target in plan.targets] == [15, 45, 75]


@pytest.mark.parametrize("index", [timed(90), counted(90)])
def test_the_rate_bounds_the_number_of_samples(index: PacketIndex) -> None:
    assert len(plan_samples(index, max_samples=100, rate_hz=2).targets) == 6
    assert len(plan_samples(index, max_samples=100, rate_hz=0.01).targets) == 1


def test_one_frame_gives_one_sample() -> None:
    assert [t.frame_number for t in plan_samples(timed(1), 32, 5).targets] == [0]
    assert [t.frame_number for t in plan_samples(counted(1), 32, 5).targets] == [0]


def test_frames_that_the_container_hides_are_not_wanted() -> None:
    hidden = tuple(e._replace(is_shown=n >= 10) for n, e in enumerate(timed(20).entries))
    index = PacketIndex(hidden, tick_s=1 / 3000, fps=30.0, ordered_times=True)
    assert index.frames == 10
    assert all(target.at >= 1000 for target in plan_samples(index, 32, 30).targets)


def test_a_missing_time_makes_the_file_a_counted_one() -> None:
    entries = (*timed(10).entries, PacketEntry(None, 0, False))
    plan = plan_samples(PacketIndex(entries, tick_s=1 / 3000, fps=30.0, ordered_times=True), 4, 30)
    assert not plan.is_timed
    assert plan.resume_at(plan.targets[-1]) == 0


def test_joined_recordings_are_counted() -> None:
    twice = PacketIndex(timed(20).entries * 2, tick_s=1 / 3000, fps=30.0, ordered_times=True)
    assert not twice.is_timed
    assert twice.duration_s == pytest.approx(40 / 30)
    shifted = tuple(e._replace(pts=(e.pts or 0) + 50) for e in timed(20).entries)
    assert not PacketIndex(timed(20).entries + shifted, tick_s=1 / 3000, fps=30.0, ordered_times=True).is_timed


@given(frames=st.integers(1, 400), gop=st.integers(1, 60), wanted=st.integers(1, 50), rate_hz=st.floats(0.1, 60))
def test_plans_are_within_bounds_and_decodable(frames: int, gop: int, wanted: int, rate_hz: float) -> None:
    index = timed(frames, gop)
    plan = plan_samples(index, wanted, rate_hz)
    numbers = [target.frame_number for target in plan.targets]
    assert 1 <= len(numbers) <= min(wanted, frames, max(1, round(index.duration_s * rate_hz)))
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < frames for number in numbers)
    for target in plan.targets:
        start = plan.resume_at(target)
        assert start == target.frame_number // gop * gop


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.booleans()), min_size=1, max_size=60))
def test_any_times_give_a_plan(packets: list[tuple[int, bool]]) -> None:
    times, keys = [pts for pts, _ in packets], [key for _, key in packets]
    entries = tuple(PacketEntry(pts, pts, key) for pts, key in packets)
    index = PacketIndex(entries, tick_s=1 / 90_000, fps=25.0, ordered_times=True)
    plan = plan_samples(index, 16, 5)
    assert 1 <= len(plan.targets) <= 16
    assert plan.is_timed == index.is_timed
    if plan.is_timed:
        assert {target.at for target in plan.targets} <= set(times)
    for target in plan.targets:
        start = plan.resume_at(target)
        assert start == 0 or (keys[start] and times[start] <= target.at)
