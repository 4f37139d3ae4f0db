from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from stream.media_limits import MediaLimits
from stream.types import Codec, DropCause, MediaUnit
from stream.unit_decoder import DecodedUnit, StillDecoder, UnitDecoder, VideoDecoder, build_decoder, check_libraries
from tests.synthetic import ENCODERS, Clip, number_on, picture, units

LIMITS = MediaLimits()
VIDEO = [Codec.H264, Codec.VP8]


def feed(decoder: UnitDecoder, media: list[MediaUnit]) -> list[DecodedUnit]:
    return [decoder.decode(unit) for unit in media]


def still(payload: bytes, codec: Codec = Codec.JPEG) -> MediaUnit:
    return MediaUnit(
        stream="s", epoch=1, sequence=0, codec=codec, payload=payload, pts_s=0.5, capture_s=9.0, keyframe=True
    )


def with_payload(unit: MediaUnit, payload: bytes) -> MediaUnit:
    return msgspec.structs.replace(unit, payload=payload)


def test_the_libraries_have_the_security_fixes() -> None:
    check_libraries()


@pytest.mark.parametrize("codec", VIDEO)
def test_every_unit_becomes_its_picture_with_its_times(codec: Codec) -> None:
    media = units("s", codec, Clip(encoder=ENCODERS[codec], frames=20), first=100)
    got = [picture for decoded in feed(build_decoder(codec, LIMITS), media) for picture in decoded.pictures]
    assert [p.sequence for p in got] == list(range(100, 120))
    assert [p.pts_s for p in got] == [unit.pts_s for unit in media]
    assert [p.capture_s for p in got] == [unit.capture_s for unit in media]
    rgb = got[7].rgb()
    assert rgb.shape == (240, 320, 3)
    assert rgb.dtype == np.uint8
    assert number_on(rgb) == 7


def test_reordered_frames_keep_the_times_of_their_own_unit() -> None:
    clip = Clip(frames=30, options={"preset": "fast", "tune": "film", "bf": "2", "b-adapt": "0"})
    media = units("s", Codec.H264, clip)
    decoder = VideoDecoder(Codec.H264, LIMITS)
    got = [p for decoded in feed(decoder, media) for p in decoded.pictures] + list(decoder.flush())
    shown = {number_on(p.rgb()): p.sequence for p in got}
    assert len(got) == 30
    assert sorted(shown) == list(range(30))
    assert any(number != sequence for number, sequence in shown.items()), "the clip has no B-frames"


@pytest.mark.parametrize("codec", VIDEO)
def test_nothing_is_decoded_before_a_key_frame(codec: Codec) -> None:
    media = units("s", codec, Clip(encoder=ENCODERS[codec], frames=20, gop=8))
    got = feed(build_decoder(codec, LIMITS), media[3:])
    start = next(at for at, unit in enumerate(media[3:]) if unit.keyframe)
    assert all(d == DecodedUnit(dropped=DropCause.NO_KEYFRAME, keyframe_needed=True) for d in got[:start])
    assert all(len(d.pictures) == 1 for d in got[start:])


@pytest.mark.parametrize("codec", VIDEO)
def test_after_a_missing_unit_decoding_waits_for_a_key_frame(codec: Codec) -> None:
    media = units("s", codec, Clip(encoder=ENCODERS[codec], frames=30, gop=10))
    starts = [at for at, unit in enumerate(media) if unit.keyframe]
    got = feed(build_decoder(codec, LIMITS), media[:5] + media[6:])
    shut = got[5 : starts[1] - 1]
    assert shut
    assert all(d.dropped is DropCause.NO_KEYFRAME for d in shut)
    assert all(d.pictures for d in got[starts[1] - 1 :])


@pytest.mark.parametrize("codec", VIDEO)
def test_bad_units_are_counted_and_never_end_the_stream(codec: Codec) -> None:
    media = units("s", codec, Clip(encoder=ENCODERS[codec], frames=60, gop=20))
    keys = [unit for unit in media if unit.keyframe]
    decoder = build_decoder(codec, LIMITS)
    rng = random.Random(4)
    junk = [with_payload(unit, rng.randbytes(200)) for unit in keys[:1] * 20]
    junk = [msgspec.structs.replace(unit, sequence=n) for n, unit in enumerate(junk)]
    for decoded in feed(decoder, junk):
        assert decoded == DecodedUnit(dropped=DropCause.DECODE_ERROR, keyframe_needed=True) or not decoded.pictures
    good = [msgspec.structs.replace(unit, sequence=20 + n) for n, unit in enumerate(media)]
    assert all(len(decoded.pictures) == 1 for decoded in feed(decoder, good))


def test_concealed_pictures_are_not_shown() -> None:
    media = units("s", Codec.H264, Clip(frames=20, gop=20))
    torn = bytearray(media[5].payload)
    for at in range(12, len(torn), 5):
        torn[at] ^= 0x55
    got = feed(VideoDecoder(Codec.H264, LIMITS), [*media[:5], with_payload(media[5], bytes(torn)), *media[6:]])
    assert [len(d.pictures) for d in got[:5]] == [1] * 5
    assert got[5].dropped is DropCause.DECODE_ERROR
    assert all(d.dropped is DropCause.NO_KEYFRAME for d in got[6:])


@pytest.mark.parametrize("codec", VIDEO)
def test_oversized_pictures_are_refused_and_smaller_ones_continue(codec: Codec) -> None:
    large = units("s", codec, Clip(640, 480, frames=3, encoder=ENCODERS[codec]))
    small = units("s", codec, Clip(320, 240, frames=3, encoder=ENCODERS[codec]), first=3)
    decoder = build_decoder(codec, MediaLimits(video_pixels=320 * 240))
    got = feed(decoder, large + small)
    assert got[0] == DecodedUnit(dropped=DropCause.TOO_LARGE, keyframe_needed=True)
    assert [len(d.pictures) for d in got[3:]] == [1, 1, 1]


@pytest.mark.parametrize("codec", VIDEO)
def test_the_size_may_change_at_a_key_frame(codec: Codec) -> None:
    clips = [Clip(w, h, frames=4, encoder=ENCODERS[codec]) for w, h in ((320, 240), (640, 360), (176, 144))]
    media = [unit for n, clip in enumerate(clips) for unit in units("s", codec, clip, first=4 * n)]
    shapes = [p.rgb().shape[:2] for d in feed(build_decoder(codec, LIMITS), media) for p in d.pictures]
    assert shapes == [(240, 320)] * 4 + [(360, 640)] * 4 + [(144, 176)] * 4


@pytest.mark.parametrize("codec", VIDEO)
def test_empty_and_tiny_payloads_are_dropped(codec: Codec) -> None:
    decoder = build_decoder(codec, LIMITS)
    first = units("s", codec, Clip(encoder=ENCODERS[codec], frames=2))
    for n, payload in enumerate([b"", b"\0", b"\0\0\0\1", b"\0\0\1\x67", b"\x9d\x01\x2a"]):
        decoded = decoder.decode(msgspec.structs.replace(first[0], sequence=n, payload=payload))
        assert not decoded.pictures
    good = [msgspec.structs.replace(unit, sequence=10 + n) for n, unit in enumerate(first)]
    assert all(len(d.pictures) == 1 for d in feed(decoder, good))


@pytest.mark.parametrize(("codec", "extension"), [(Codec.JPEG, ".jpg"), (Codec.PNG, ".png")])
def test_stills_are_decoded_independently(codec: Codec, extension: str) -> None:
    decoder = build_decoder(codec, LIMITS)
    assert isinstance(decoder, StillDecoder)
    (got,) = decoder.decode(still(picture(64, 48, extension), codec)).pictures
    assert got.rgb().shape == (48, 64, 3)
    assert (got.pts_s, got.capture_s) == (0.5, 9.0)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", DropCause.DECODE_ERROR),
        (b"GIF89a" + bytes(50), DropCause.DECODE_ERROR),
        (picture(64, 48)[:-200], DropCause.DECODE_ERROR),
        (picture(200, 100), DropCause.TOO_LARGE),
    ],
)
def test_bad_stills_are_dropped_with_a_cause(payload: bytes, cause: DropCause) -> None:
    decoder = StillDecoder(MediaLimits(picture_pixels=10_000, shrunk_picture_pixels=10_000))
    assert decoder.decode(still(payload)) == DecodedUnit(dropped=cause)
