"""Segment decoding: every frame of every container at its time; no frame of damaged or oversized segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream.errors import MediaRefused
from stream.media_limits import MediaLimits
from stream.segment_decoder import SegmentDecoder
from stream.types import Codec, MediaUnit
from tests.synthetic import Clip, audio_only, number_on, picture, video

if TYPE_CHECKING:
    from pathlib import Path

    from stream.unit_decoder import DecodedPicture

CLIPS = {"mp4": Clip(frames=12), "mpegts": Clip(frames=12), "webm": Clip(frames=12, encoder="libvpx")}
LIMITS = MediaLimits()


def unit(payload: bytes) -> MediaUnit:
    return MediaUnit(
        stream="s", epoch=1, sequence=4, codec=Codec.SEGMENT, payload=payload, pts_s=8.0, capture_s=1000.0,
        keyframe=True,
    )


def made(folder: Path, container: str) -> bytes:
    return video(folder / container, CLIPS[container], container).read_bytes()


def decoded(payload: bytes, limits: MediaLimits = LIMITS) -> list[DecodedPicture]:
    return list(SegmentDecoder(limits).decode(unit(payload)).pictures)


@pytest.mark.parametrize("container", CLIPS)
def test_every_frame_comes_with_its_time(container: str, tmp_path: Path) -> None:
    found = decoded(made(tmp_path, container))
    assert [number_on(each.rgb()) for each in found] == list(range(12))
    assert [each.pts_s for each in found] == pytest.approx([8 + n / 30 for n in range(12)], abs=0.002)
    assert [each.capture_s for each in found] == pytest.approx([1000 + n / 30 for n in range(12)], abs=0.002)
    assert {each.sequence for each in found} == {4}


@pytest.mark.parametrize("container", CLIPS)
def test_a_truncated_segment_is_refused_without_concealed_pictures(container: str, tmp_path: Path) -> None:
    whole = made(tmp_path, container)
    pictures = SegmentDecoder(LIMITS).decode(unit(whole[: len(whole) // 2])).pictures
    seen = []
    with pytest.raises(MediaRefused):
        seen += [number_on(each.rgb()) for each in pictures]
    assert seen == list(range(len(seen)))
    assert len(seen) < 12


@pytest.mark.parametrize("payload", [b"", b"nothing at all", picture(64, 64), b"\x1a\x45\xdf\xa3" + b"\0" * 100])
def test_data_that_is_no_segment_is_refused(payload: bytes) -> None:
    with pytest.raises(MediaRefused):
        decoded(payload)


def test_a_segment_without_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaRefused, match="no video"):
        decoded(audio_only(tmp_path / "a.mp4").read_bytes())


def test_too_many_pixels_and_too_many_frames_are_refused(tmp_path: Path) -> None:
    payload = made(tmp_path, "mp4")
    for limits in (MediaLimits(video_pixels=1000), MediaLimits(frames=5)):
        with pytest.raises(MediaRefused) as refused:
            decoded(payload, limits)
        assert refused.value.code == "too_large"
