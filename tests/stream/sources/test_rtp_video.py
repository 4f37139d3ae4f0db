"""Frame assembly from RTP packets: order, loss, restarts, key frames, clocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor
from hypothesis import given
from hypothesis import strategies as st

from stream.sources.rtp_video import Fragment, RtpClock, TrackConfig, VideoTrack, is_keyframe, layer_of
from stream.temporal_layers import BASE, Layer
from stream.types import Codec

if TYPE_CHECKING:
    from stream.display_transform import DisplayTransform

VP8_KEY = b"\x10\x00\x00\x9d\x01\x2a\x80\x02\x68\x01"
VP8_DELTA = b"\x11\x00\x00delta"
SSRC = 0x11223344
FRAME_TICKS = 3000
START_CODE = b"\x00\x00\x00\x01"
SPS, PPS = START_CODE + b"\x67\x42\xe0\x1f", START_CODE + b"\x68\xce\x3c"
IDR, IDR_SECOND_SLICE = START_CODE + b"\x65\x88\x84", START_CODE + b"\x65\x04\x84"
DELTA_SLICE = START_CODE + b"\x41\x9a\x02"


class Out(NamedTuple):
    payload: bytes
    pts_s: float
    keyframe: bool
    age_s: float
    layer: Layer


@dataclass
class Output:
    """Collects the output of a track."""

    frames: list[Out] = field(default_factory=list)
    losses: int = 0
    asked: list[int] = field(default_factory=list)

    displays: list[DisplayTransform] = field(default_factory=list)

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None:
        self.frames.append(Out(payload, pts_s, keyframe, age_s, layer))
        self.displays.append(display)

    def lost(self) -> None:
        self.losses += 1

    def ask_keyframe(self, ssrc: int) -> None:
        self.asked.append(ssrc)


def call(frames: int, *, key_every: int = 10, packets: int = 3, sequence: int = 65_530, time: int = 2**32 - 9000,
         markers: bool = True) -> list[Fragment]:
    """Returns packets of a VP8 call at 30 frames/s, `packets` per frame, across a wrap of both counters."""
    fragments = []
    for number in range(frames):
        head = VP8_KEY if number % key_every == 0 else VP8_DELTA
        for part in range(packets):
            data = head if part == 0 else b"frame %d part %d" % (number, part)
            fragments.append(Fragment(
                SSRC, (sequence + number * packets + part) % 2**16, (time + number * FRAME_TICKS) % 2**32,
                markers and part == packets - 1, data, number / 30 + part * 0.001,
            ))
    return fragments


@pytest.mark.parametrize("descriptor", [
    VpxPayloadDescriptor(1, 0, picture_id, index, (number, sync), key)
    for picture_id in (None, 5, 0x7FFF) for index in (None, 255) for number in range(4) for sync in (0, 1)
    for key in (None, 31)
])
def test_the_layer_is_read_from_the_payload_header(descriptor: VpxPayloadDescriptor) -> None:
    assert descriptor.tid is not None
    payload = bytes(descriptor) + VP8_DELTA
    assert layer_of(Codec.VP8, payload) == Layer(descriptor.tid[0], bool(descriptor.tid[1]))
    assert layer_of(Codec.H264, payload) == BASE


def test_a_short_picture_id_is_read_too() -> None:
    assert layer_of(Codec.VP8, b"\x90\xa0\x05\xa0" + VP8_DELTA) == Layer(2, sync=True)


@pytest.mark.parametrize(
    "payload", [b"", b"\x10", b"\x10\x9d", b"\x90", b"\x90\xa0", b"\x90\xa0\x85", b"\x90\x80\x05\xff"]
)
def test_a_header_without_a_layer_or_cut_short_means_the_base(payload: bytes) -> None:
    assert layer_of(Codec.VP8, payload) == BASE


@given(st.binary(max_size=8))
def test_no_header_breaks_the_reader(payload: bytes) -> None:
    assert 0 <= layer_of(Codec.VP8, payload).number <= 3


def test_a_frame_has_the_layer_that_its_packets_name() -> None:
    layers = [Layer(0), Layer(2, sync=True), Layer(1, sync=True), Layer(2)]
    output = run([f._replace(layer=layers[n // 3 % 4]) for n, f in enumerate(call(8))])
    assert [frame.layer for frame in output.frames] == layers * 2


def track(config: TrackConfig | None = None, codec: Codec = Codec.VP8) -> tuple[VideoTrack, Output]:
    output = Output()
    return VideoTrack(codec, output, config), output


def run(fragments: list[Fragment], config: TrackConfig | None = None) -> Output:
    subject, output = track(config)
    for fragment in fragments:
        subject.take(fragment)
    return output


def payloads_of(fragments: list[Fragment]) -> list[bytes]:
    times = dict.fromkeys(fragment.rtp_time for fragment in fragments)
    return [b"".join(f.data for f in fragments if f.rtp_time == time) for time in times]


def test_frames_are_complete_in_order_and_at_their_time() -> None:
    fragments = call(30)
    output = run(fragments)
    assert [frame.payload for frame in output.frames] == payloads_of(fragments)
    assert [frame.pts_s for frame in output.frames] == pytest.approx([n / 30 for n in range(30)])
    assert [frame.keyframe for frame in output.frames] == [n % 10 == 0 for n in range(30)]
    assert output.losses == 0
    assert output.asked == []


def test_a_frame_is_complete_with_its_marker_and_does_not_wait_for_the_next() -> None:
    fragments = call(1)
    output = run(fragments)
    assert len(output.frames) == 1
    assert output.frames[0].age_s == pytest.approx(0.002)


def test_without_markers_a_frame_ends_where_the_next_begins() -> None:
    fragments = call(5, markers=False)
    assert [frame.payload for frame in run(fragments).frames] == payloads_of(fragments)[:-1]


def test_a_sender_that_sets_the_marker_per_packet_is_understood_after_its_next_key_frame() -> None:
    fragments = [fragment._replace(marker=True) for fragment in call(30)]
    output = run(fragments)
    whole = payloads_of(fragments)
    assert [frame.payload for frame in output.frames[1:]] == whole[10:-1]


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_packets_out_of_order_change_nothing(random: object, reach: int) -> None:
    fragments = call(20)
    shuffled = sorted(enumerate(fragments), key=lambda item: item[0] + random.random() * reach)     # type: ignore[attr-defined]
    moved = [fragment._replace(arrived_s=n * 0.01) for n, (_, fragment) in enumerate(shuffled)]
    if moved[0].sequence != fragments[0].sequence:
        moved.insert(0, fragments[0])       # packets before the first one that arrived are never known
    assert [frame.payload for frame in run(moved).frames] == payloads_of(fragments)


def test_duplicates_are_taken_once() -> None:
    fragments = call(10)
    assert [f.payload for f in run([f for f in fragments for _ in range(2)]).frames] == payloads_of(fragments)


@given(st.sets(st.integers(0, 3 * 90 - 1), max_size=40))
def test_after_a_loss_frames_are_withheld_until_the_next_complete_key_frame(lost: set[int]) -> None:
    fragments = call(90)
    kept = [fragment for n, fragment in enumerate(fragments) if n not in lost]
    output = run(kept)
    whole = payloads_of(fragments)
    numbers = [whole.index(frame.payload) for frame in output.frames]       # each is complete
    damaged = {n // 3 for n in lost}
    for frame, number, previous in zip(output.frames, numbers, [None, *numbers], strict=False):
        assert frame.keyframe or previous == number - 1
        assert number not in damaged
    media_s = [frame.pts_s - number / 30 for frame, number in zip(output.frames, numbers, strict=True)]
    assert media_s == pytest.approx(media_s[:1] * len(media_s))


def test_a_packet_retransmitted_in_time_costs_no_frame() -> None:
    fragments = call(20)
    late = fragments.pop(16)
    fragments.insert(24, late._replace(arrived_s=fragments[24].arrived_s))
    output = run(fragments)
    assert len(output.frames) == 20
    assert output.losses == 0


def test_a_permanent_loss_is_reported_and_a_key_frame_requested_until_it_arrives() -> None:
    fragments = call(120, key_every=100)
    del fragments[40]
    output = run(fragments)
    assert output.losses == 1
    assert [round(frame.pts_s * 30) for frame in output.frames] == [*range(13), *range(100, 120)]
    waited_s = 100 / 30 - (13 / 30 + 0.4)
    assert len(output.asked) == 1 + int(waited_s)
    assert set(output.asked) == {SSRC}


def test_a_call_joined_in_the_middle_outputs_nothing_before_the_requested_key_frame() -> None:
    output = run(call(40, key_every=30)[5 * 3 + 1 :])
    assert [frame.keyframe for frame in output.frames] == [True] + 9 * [False]
    assert len(output.asked) == 1
    assert output.losses == 0


def test_a_sender_that_restarts_its_numbers_continues_with_its_key_frame() -> None:
    output = run([*call(15), *(f._replace(arrived_s=f.arrived_s + 0.5) for f in call(15, sequence=30_000, time=5))])
    assert len(output.frames) == 30
    assert output.losses == 1


def test_a_second_source_is_ignored_while_the_first_sends() -> None:
    other = [f._replace(ssrc=99, data=VP8_KEY) for f in call(30, sequence=5)]
    mixed = sorted([*call(30), *other], key=lambda f: f.arrived_s)
    output = run(mixed)
    assert [frame.payload for frame in output.frames] == payloads_of(call(30))


def test_another_source_may_follow_when_the_first_is_silent() -> None:
    follow = [f._replace(ssrc=99, arrived_s=f.arrived_s + 3) for f in call(10, sequence=5)]
    subject, output = track()
    for fragment in [*call(10), *follow]:
        subject.take(fragment)
    assert len(output.frames) == 20
    assert subject.ssrc == 99


def test_empty_packets_are_bandwidth_probes() -> None:
    fragments = call(5, sequence=0)
    probes = [Fragment(SSRC, 15 + n, fragments[-1].rtp_time, False, b"", 0.2) for n in range(10)]
    after = [f._replace(sequence=f.sequence + 25, rtp_time=f.rtp_time + 5 * FRAME_TICKS) for f in call(5, sequence=0)]
    assert len(run([*fragments, *probes, *after]).frames) == 10


def test_a_frame_without_end_is_given_up() -> None:
    endless = [Fragment(SSRC, n, 0, False, VP8_KEY if n == 0 else b"x" * 1000, n / 1000) for n in range(200)]
    subject, output = track(TrackConfig(max_frame_bytes=50_000))
    for fragment in endless:
        subject.take(fragment)
    assert output.frames == []
    assert subject._part_bytes <= 51_000


def test_the_number_of_waiting_packets_is_bounded() -> None:
    subject, _ = track(TrackConfig(max_waiting=64, patience_s=1e9))
    subject.take(Fragment(SSRC, 0, 0, False, VP8_KEY, 0.0))
    for n in range(2, 5000):
        subject.take(Fragment(SSRC, n % 2**16, n // 3 * FRAME_TICKS, False, b"x", n / 100))
        assert len(subject._early) <= 64


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.booleans(), st.binary(max_size=12),
                          st.integers(0, 3)), max_size=60), st.sampled_from((Codec.VP8, Codec.H264)))
def test_arbitrary_packets_do_no_harm(packets: list[tuple[int, int, bool, bytes, int]], codec: Codec) -> None:
    subject, output = track(TrackConfig(max_waiting=16), codec)
    for n, (sequence, time, marker, data, ssrc) in enumerate(packets):
        subject.take(Fragment(ssrc, sequence, time, marker, data, n * 0.1))
    assert len(subject._early) <= 17
    assert all(frame.age_s >= 0 for frame in output.frames)
    assert not output.frames or output.frames[0].keyframe


def test_the_clock_takes_wraps_and_reordering() -> None:
    clock = RtpClock()
    assert [clock.seconds(time) for time in (1000, 10_000, 4000)] == pytest.approx([0, 0.1, 1 / 30])
    clock = RtpClock()
    assert [clock.seconds(time % 2**32) for time in (2**32 - 9000, 2**32, 2**32 + 9000, 2**32 - 9000)] == pytest.approx(
        [0, 0.1, 0.2, 0]
    )


@given(st.lists(st.integers(-(2**30), 2**30), max_size=20), st.integers(0, 2**32 - 1))
def test_the_clock_follows_every_step(steps: list[int], start: int) -> None:
    clock, ticks = RtpClock(), start
    assert clock.seconds(start) == 0
    for step in steps:
        ticks += step
        assert clock.seconds(ticks % 2**32) == pytest.approx((ticks - start) / 90_000)


@pytest.mark.parametrize(("codec", "payload", "expected"), [
    (Codec.VP8, VP8_KEY, True),
    (Codec.VP8, VP8_DELTA, False),
    (Codec.VP8, VP8_KEY[:6], False),
    (Codec.VP8, b"\x10\x00\x00\x9d\x01\x2b\x80\x02\x68\x01", False),
    (Codec.VP8, b"", False),
    (Codec.H264, SPS + PPS + IDR, True),
    (Codec.H264, IDR, True),
    (Codec.H264, START_CODE + b"\x09\xf0" + SPS + PPS + START_CODE + b"\x06\x05" + IDR, True),
    (Codec.H264, SPS + PPS + DELTA_SLICE, False),
    (Codec.H264, DELTA_SLICE, False),
    (Codec.H264, SPS + PPS, False),
    (Codec.H264, IDR_SECOND_SLICE + IDR, False),
    (Codec.H264, b"tail of a slice" + IDR, False),
    (Codec.H264, IDR[:5], False),
    (Codec.H264, b"", False),
])
def test_key_frames(codec: Codec, payload: bytes, expected: bool) -> None:
    assert is_keyframe(codec, payload) is expected


def test_the_orientation_follows_its_extension() -> None:
    """An orientation holds until the next one; a key frame without one is upright."""
    output = Output()
    track = VideoTrack(Codec.VP8, output)
    orientations = {0: 1, 4: 2}       # by frame number; frame 10 is a key frame without one
    for fragment in call(12, packets=2):
        number = (fragment.rtp_time - call(1)[0].rtp_time) % 2**32 // 3000
        is_last = fragment.marker
        track.take(fragment._replace(orientation=orientations.get(number) if is_last else None))
    assert [display.quarter_turns for display in output.displays] == [1] * 4 + [2] * 6 + [0] * 2
