"""Segmenter: pictures, access units and segments of files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest

from consumers.errors import SourceUnreadable
from consumers.media_contract import ContentType
from consumers.record_form import RecordForm
from consumers.segmenter import TIMEBASE, MediaPiece, SegmenterOptions, media_pieces, source_length_s
from stream.media_limits import MediaLimits
from stream.types import Codec, MediaUnit
from stream.unit_decoder import build_decoder
from tests.synthetic import Clip, audio_only, number_on, video

if TYPE_CHECKING:
    from pathlib import Path

CLIP = Clip(frames=75, gop=15)      # 2.5 s, a key frame every 0.5 s
ENCODERS = [("libx264", "mp4"), ("libvpx", "webm")]


def numbers_of_segment(payload: bytes) -> list[int]:
    with av.open(io.BytesIO(payload)) as container:
        return [number_on(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def numbers_of_units(codec: Codec, units: list[MediaPiece]) -> list[int]:
    decoder = build_decoder(codec, MediaLimits())
    pictures: list[Any] = []
    for sequence, piece in enumerate(units):
        unit = MediaUnit(
            stream="s", epoch=1, sequence=sequence, codec=codec, payload=piece.payload, pts_s=piece.ticks / 90_000,
            capture_s=0.0, keyframe=piece.keyframe,
        )
        decoded = decoder.decode(unit)
        assert decoded.dropped is None
        pictures += decoded.pictures
    pictures += decoder.flush()
    return [number_on(picture.rgb()) for picture in sorted(pictures, key=lambda picture: picture.pts_s)]


@pytest.mark.parametrize(("encoder", "container"), ENCODERS)
def test_pictures_contain_all_frames_with_their_times(tmp_path: Path, encoder: str, container: str) -> None:
    path = video(tmp_path / f"clip.{container}", Clip(frames=75, encoder=encoder))
    found = list(media_pieces(str(path), SegmenterOptions(RecordForm.FRAMES)))
    shown = [cv2.imdecode(np.frombuffer(p.payload, np.uint8), cv2.IMREAD_COLOR_RGB) for p in found]
    assert [number_on(rgb) for rgb in shown] == list(range(75))
    assert [p.ticks for p in found] == pytest.approx([n * 3000 for n in range(75)], abs=90)
    assert {p.content_type for p in found} == {ContentType.JPEG}


def test_a_lower_rate_spreads_pictures_evenly(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4", CLIP)
    found = list(media_pieces(str(path), SegmenterOptions(RecordForm.FRAMES, fps=10)))
    assert [p.ticks for p in found] == [n * 9000 for n in range(25)]
    assert found[-1].ticks + found[-1].duration == 2.5 * 90_000


@pytest.mark.parametrize(("encoder", "container"), ENCODERS)
def test_units_can_be_decoded_to_all_frames(tmp_path: Path, encoder: str, container: str) -> None:
    path = video(tmp_path / f"clip.{container}", Clip(frames=75, gop=15, encoder=encoder))
    found = list(media_pieces(str(path), SegmenterOptions(RecordForm.UNITS)))
    codec = Codec.H264 if encoder == "libx264" else Codec.VP8
    assert numbers_of_units(codec, found) == list(range(75))
    assert found[0].keyframe
    assert sum(p.keyframe for p in found) == 5
    assert sum(p.duration for p in found) == pytest.approx(2.5 * 90_000, abs=3000)      # WebM counts in ms


def test_units_with_b_frames_keep_their_times(tmp_path: Path) -> None:
    options = {"preset": "medium", "tune": "animation", "bf": "2"}
    path = video(tmp_path / "clip.mp4", Clip(frames=75, gop=15, options=options))
    found = list(media_pieces(str(path), SegmenterOptions(RecordForm.UNITS)))
    assert [p.ticks for p in found] != sorted(p.ticks for p in found)
    assert numbers_of_units(Codec.H264, found) == list(range(75))


@pytest.mark.parametrize(("encoder", "container"), [*ENCODERS, ("libx265", "mp4"), ("libvpx-vp9", "webm")])
def test_segments_are_self_contained_with_every_frame_once(tmp_path: Path, encoder: str, container: str) -> None:
    options = {"x265-params": "log-level=none:open-gop=0"} if encoder == "libx265" else {}
    path = video(tmp_path / f"clip.{container}", Clip(frames=75, gop=15, encoder=encoder, options=options))
    found = list(media_pieces(str(path), SegmenterOptions(RecordForm.SEGMENTS, segment_s=1.0)))
    assert [numbers_of_segment(p.payload) for p in found] == [
        list(range(30)), list(range(30, 60)), list(range(60, 75))
    ]
    assert [p.ticks for p in found] == [0, 90_000, 180_000]
    assert found[0].duration == 90_000


def test_a_transport_stream_is_segmented(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.ts", CLIP, "mpegts")
    pieces = list(media_pieces(str(path), SegmenterOptions(RecordForm.UNITS)))
    assert numbers_of_units(Codec.H264, pieces) == list(range(75))


def test_packets_before_the_first_key_frame_are_skipped(tmp_path: Path) -> None:
    """As for a live source that is joined mid-stream."""
    whole, late = video(tmp_path / "clip.ts", CLIP, "mpegts"), tmp_path / "late.ts"
    with av.open(str(whole)) as source, av.open(str(late), "w", format="mpegts") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            if number >= 20:
                packet.stream = track
                target.mux(packet)
    found = list(media_pieces(str(late), SegmenterOptions(RecordForm.UNITS)))
    assert found[0].keyframe
    assert found[0].ticks == 0
    assert numbers_of_units(Codec.H264, found) == list(range(30, 75))


@pytest.mark.parametrize("form", RecordForm)
def test_a_source_without_video_is_named_and_refused(tmp_path: Path, form: RecordForm) -> None:
    text, sound = tmp_path / "notes.mp4", audio_only(tmp_path / "sound.mp4")
    text.write_text("no video at all")
    for path in (text, sound, tmp_path / "absent.mp4"):
        with pytest.raises(SourceUnreadable, match=path.name):
            list(media_pieces(str(path), SegmenterOptions(form)))


def test_messages_contain_no_login() -> None:
    with pytest.raises(SourceUnreadable) as refused:
        list(media_pieces("rtsp://me:hush@127.0.0.1:1/cam?token=hush", SegmenterOptions(RecordForm.UNITS)))
    assert "rtsp://127.0.0.1:1/cam" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_an_unsupported_codec_suggests_frames(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.avi", Clip(encoder="mpeg4"))
    only = "mpeg4 cannot be published as units, only h264, vp8, hevc, vp9, av1 can; publish it as frames"
    with pytest.raises(SourceUnreadable, match=only):
        list(media_pieces(str(path), SegmenterOptions(RecordForm.UNITS)))


def test_the_duration_of_a_file_is_known(tmp_path: Path) -> None:
    assert source_length_s(str(video(tmp_path / "clip.mp4", CLIP))) == pytest.approx(2.5, abs=0.05)
    assert float(TIMEBASE * 90_000) == 1.0


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_units_of_rotated_video_carry_the_display_transform(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(-degrees)
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    found = list(media_pieces(str(path), SegmenterOptions(RecordForm.UNITS)))
    assert {piece.display.quarter_turns for piece in found} == {degrees // 90}
