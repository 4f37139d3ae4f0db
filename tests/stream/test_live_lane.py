from __future__ import annotations

from stream.live_lane import CATCH_UP_S, CREDITS_AT_ONCE, CREDITS_EVERY_S, HOLD_S, LATE_S, LaneSample, LiveLane
from stream.media_limits import MediaLimits
from stream.types import Codec, MediaUnit
from stream.worker_messages import OpenStream
from tests.synthetic import Clip, units


class Clock:
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def lane(clock: Clock, **changes: int) -> LiveLane:
    opened = OpenStream(stream="s", epoch=1, codec=Codec.H264, rate_hz=10.0, phase=0.0, **changes)
    return LiveLane(opened, MediaLimits(), clock)


def media(frames: int = 30, gop: int = 30) -> list[MediaUnit]:
    return units("s", Codec.H264, Clip(64, 64, frames=frames, gop=gop))


def taken(subject: LiveLane) -> list[LaneSample]:
    samples = []
    while subject.has_units:
        sample = subject.advance(budget_s=1.0)
        if sample is not None:
            samples.append(sample)
    return samples


def test_advance_returns_one_sample_and_stops_there() -> None:
    clock = Clock()
    subject = lane(clock)
    for unit in media():
        subject.put(unit, clock.now_s)
    first, second = subject.advance(1.0), subject.advance(1.0)
    assert first is not None
    assert second is not None
    assert (first.frame_number, second.frame_number) == (0, 3)
    assert subject.take_consumed(now=True) == 4
    assert subject.take_consumed(now=True) == 0
    assert subject.has_units


def test_newer_samples_replace_ones_that_waited_too_long() -> None:
    clock = Clock()
    subject = lane(clock)
    waiting = media()
    for unit in waiting[:20]:
        subject.put(unit, clock.now_s)
    clock.now_s += LATE_S + 0.1
    for unit in waiting[20:]:
        subject.put(unit, clock.now_s)
    samples = taken(subject)
    assert [sample.frame_number for sample in samples] == [20, 21, 24, 27], "the first is the newest frame of its cell"
    assert [sample.cell for sample in samples] == [30, 35, 40, 45]
    counts = subject.counts
    assert counts.sampled == 10
    assert counts.dropped == {"superseded": 6}
    assert counts.decoded == counts.received == 30


def test_a_late_sample_is_held_briefly_for_newer_frames() -> None:
    clock = Clock()
    subject = lane(clock)
    waiting = media()
    for unit in waiting[:8]:
        subject.put(unit, clock.now_s)
    clock.now_s += LATE_S + 0.1
    assert subject.advance(1.0) is None
    assert subject.is_holding
    assert not subject.has_units
    assert subject.take_consumed(now=True) == 8, "so that more can come"
    for unit in waiting[8:12]:
        subject.put(unit, clock.now_s)
    sample = subject.advance(1.0)
    assert sample is not None
    assert (sample.cell, sample.frame_number, sample.picture.sequence) == (10, 8, 8)
    assert subject.counts.dropped == {"superseded": 2}
    assert not subject.is_holding


def test_a_late_sample_is_not_held_for_long() -> None:
    clock = Clock()
    subject = lane(clock)
    subject.put(media()[0], clock.now_s)
    clock.now_s += LATE_S + 0.1
    assert subject.advance(1.0) is None
    clock.now_s += HOLD_S + 0.001
    assert subject.has_units
    sample = subject.advance(1.0)
    assert sample is not None
    assert sample.frame_number == 0
    assert not subject.has_units


def test_a_held_sample_is_not_lost_at_the_end() -> None:
    clock = Clock()
    subject = lane(clock)
    subject.put(media()[0], clock.now_s)
    clock.now_s += LATE_S + 0.1
    assert subject.advance(1.0) is None
    subject.is_closing = True
    sample = subject.flush()
    assert sample is not None
    assert sample.frame_number == 0
    assert subject.is_over


def test_the_budget_bounds_one_call() -> None:
    clock = Clock()
    subject = lane(clock)
    for unit in media()[1:]:            # no key frame: nothing to sample
        subject.put(unit, clock.now_s)
    assert subject.advance(budget_s=0.0) is None
    assert subject.take_consumed() == 1


class Ticking(Clock):
    """A clock that advances 4 ms per reading, as if decoding took that long."""

    def __call__(self) -> float:
        self.now_s += 0.004
        return self.now_s


def test_late_units_are_decoded_beyond_the_budget_up_to_a_limit() -> None:
    clock = Ticking()
    subject = lane(clock)
    for unit in media()[1:]:
        subject.put(unit, clock.now_s)
    subject.advance(budget_s=0.01)
    assert subject.take_consumed(now=True) == 3
    clock.now_s += LATE_S
    subject.advance(budget_s=0.01)
    assert subject.take_consumed(now=True) == round(CATCH_UP_S / 0.004)


def test_credits_are_returned_a_few_at_a_time() -> None:
    clock = Clock()
    subject = lane(clock)
    reported = []
    for unit in media()[1:]:
        subject.put(unit, clock.now_s)
        subject.advance(1.0)
        reported.append(subject.take_consumed())
        clock.now_s += 0.001
    assert sum(reported) == len(reported) - 1 - 28 % CREDITS_AT_ONCE + 1
    assert max(reported) == CREDITS_AT_ONCE
    assert subject.owes_credits
    clock.now_s += CREDITS_EVERY_S
    assert subject.take_consumed() == 28 % CREDITS_AT_ONCE
    assert not subject.owes_credits


def test_key_frames_are_requested_once_per_second() -> None:
    clock = Clock()
    subject = lane(clock)
    asked = 0
    for unit in media(60, gop=60)[1:]:
        subject.put(unit, clock.now_s)
        subject.advance(1.0)
        asked += subject.wants_keyframe()
        clock.now_s += 1 / 30
    assert asked == 2
    assert subject.counts.dropped == {"no_keyframe": 59}
    subject.put(media(1)[0], clock.now_s)
    subject.advance(1.0)
    clock.now_s += 10
    assert not subject.wants_keyframe()


def test_a_replacement_worker_repeats_neither_cells_nor_track_ids() -> None:
    clock = Clock()
    subject = lane(clock, after_cell=20, first_frame=1000)
    for unit in media():
        subject.put(unit, clock.now_s)
    samples = taken(subject)
    assert all(sample.cell > 20 for sample in samples)
    assert samples[0].frame_number >= 1000
    assert subject.counts.sampled == len(samples)


def test_flush_returns_what_the_decoder_still_holds() -> None:
    clock = Clock()
    subject = lane(clock)
    clip = Clip(64, 64, frames=10, options={"preset": "fast", "tune": "film", "bf": "2", "b-adapt": "0"})
    for unit in units("s", Codec.H264, clip):
        subject.put(unit, clock.now_s)
    taken(subject)
    assert not subject.is_over
    before = subject.counts.decoded
    subject.flush()
    assert subject.is_over
    assert before < subject.counts.decoded == 10
