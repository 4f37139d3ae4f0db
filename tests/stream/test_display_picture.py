"""Turned, mirrored, squeezed, interlaced and HDR video reaches the detector as the plain clip does."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.display_picture import PictureConverter, ShownFrames
from stream.display_transform import (
    AS_DECODED,
    DisplayTransform,
    cvo_of_transform,
    shown_size,
    transform_of_cvo,
    transform_of_matrix,
)
from stream.media_limits import MediaLimits
from stream.segment_decoder import SegmentDecoder
from stream.sources.video_file import Sampling, VideoFile, identify
from stream.tone_mapping import WHITE_NITS, pq_of_nits
from stream.types import Codec, MediaUnit
from tests.synthetic import pattern

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Rgb = NDArray[np.uint8]

WIDTH, HEIGHT, FRAMES = 160, 120, 8
LIMITS = MediaLimits()
ALL_TRANSFORMS = [DisplayTransform(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
_PQ, _BT2020, _BT2020_NCL = 16, 9, 9


def plain(number: int) -> Rgb:
    """Returns what a viewer sees of frame `number`: a smooth picture with a different colour in each corner."""
    return np.asarray(cv2.GaussianBlur(pattern(number, WIDTH, HEIGHT), (0, 0), 1.5), np.uint8)


def stored(shown: Rgb, transform: DisplayTransform) -> Rgb:
    """Returns the frame that a recorder stores so that `transform` shows it as `shown`."""
    turned = np.rot90(shown, transform.quarter_turns)
    return np.ascontiguousarray(turned[:, ::-1] if transform.is_mirrored else turned)


def write(
    path: Path, frames: list[Rgb], transform: DisplayTransform = AS_DECODED, aspect: Fraction | None = None
) -> Path:
    """Writes an H.264 file with the transform in its container and the aspect ratio in its bitstream."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "4", "preset": "ultrafast"}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if transform != AS_DECODED:
            # FFmpeg counts counter-clockwise and mirrors after turning, which is the opposite order of ours.
            degrees = -90 * transform.quarter_turns
            stream.set_display_rotation(degrees * (-1 if transform.is_mirrored else 1), hflip=transform.is_mirrored)
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def of_file(path: Path) -> list[Rgb]:
    reader = VideoFile(path, identify(path, LIMITS), LIMITS)
    return [sample.rgb for sample in reader.samples(Sampling(FRAMES, 100.0)) if sample is not None]


def of_segment(path: Path) -> list[Rgb]:
    unit = MediaUnit(
        stream="s", epoch=1, sequence=0, codec=Codec.SEGMENT, payload=path.read_bytes(), pts_s=0.0, capture_s=0.0,
        keyframe=True,
    )  # fmt: skip
    return [picture.rgb() for picture in SegmentDecoder(LIMITS).decode(unit).pictures]


def assert_shown(found: list[Rgb], tolerance: float = 4.0) -> None:
    """Asserts that `found` are the plain frames, within a mean difference of `tolerance` of 255."""
    assert len(found) == FRAMES
    for number, rgb in enumerate(found):
        assert rgb.shape == (HEIGHT, WIDTH, 3)
        assert rgb.flags.c_contiguous
        assert np.abs(rgb.astype(int) - plain(number)).mean() < tolerance


@pytest.mark.parametrize("read", [of_file, of_segment])
@pytest.mark.parametrize("transform", ALL_TRANSFORMS)
def test_turned_and_mirrored_video_is_judged_upright(read: Any, transform: DisplayTransform, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [stored(plain(number), transform) for number in range(FRAMES)], transform)
    assert_shown(read(path))


@pytest.mark.parametrize("read", [of_file, of_segment])
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(4, 3), Fraction(1, 2)])
def test_anamorphic_video_is_judged_in_square_pixels(read: Any, aspect: Fraction, tmp_path: Path) -> None:
    squeezed = (round(WIDTH / aspect), HEIGHT) if aspect > 1 else (WIDTH, round(HEIGHT * aspect))
    frames = [cv2.resize(plain(number), squeezed, interpolation=cv2.INTER_AREA) for number in range(FRAMES)]
    assert_shown(read(write(tmp_path / "a.mp4", frames, aspect=aspect)), tolerance=6.0)


def woven(first: Rgb, second: Rgb) -> Rgb:
    """Returns one interlaced frame: even rows of one moment, odd rows of the next."""
    frame = first.copy()
    frame[1::2] = second[1::2]
    return frame


def moving(number: int) -> Rgb:
    """Returns a picture that moves sideways so fast that its two fields show combing."""
    return np.ascontiguousarray(np.roll(plain(0), 12 * number, axis=1))


@pytest.mark.parametrize("is_flagged", [True, False])
def test_interlaced_video_is_deinterlaced(is_flagged: bool) -> None:
    options = {"x264-params": "tff=1"} if is_flagged else {}
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, 25)
    context.options = {"crf": "4", "preset": "ultrafast", **options}
    packets = []
    for number in range(FRAMES):
        frame = av.VideoFrame.from_ndarray(woven(moving(2 * number), moving(2 * number + 1)), format="rgb24")
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    packets += context.encode(None)
    decoder: Any = av.CodecContext.create("h264", "r")
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    assert all(frame.interlaced_frame == is_flagged for frame in frames)
    converter = PictureConverter()
    for number, frame in enumerate(frames):
        rgb = converter.rgb(frame, AS_DECODED)
        assert np.abs(rgb.astype(int) - moving(2 * number)).mean() < 10
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - moving(2 * number)).mean() > 12


def test_progressive_video_keeps_every_row() -> None:
    rgb = pattern(3, WIDTH, HEIGHT)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p")
    assert np.abs(PictureConverter().rgb(frame, AS_DECODED).astype(int) - rgb).mean() < 2


def test_hdr_is_tone_mapped_to_the_sdr_picture() -> None:
    sdr = np.asarray(plain(0) * 0.7, np.uint8)
    to_bt2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light = (sdr / 255.0) ** 2.4 * WHITE_NITS @ to_bt2020.T
    code = np.rint(pq_of_nits(np.asarray(light, np.float32)) * 65535).astype(np.uint16)
    deep = av.VideoFrame.from_ndarray(code, format="rgb48le")
    frame = deep.reformat(format="yuv444p10le", dst_colorspace=_BT2020_NCL)
    frame.color_trc, frame.colorspace, frame.color_primaries = _PQ, _BT2020_NCL, _BT2020
    shown = PictureConverter().rgb(frame, AS_DECODED)
    assert np.abs(shown.astype(int) - sdr).mean() < 3
    assert np.abs(frame.reformat(format="rgb24").to_ndarray().astype(int) - sdr).mean() > 20


def test_untagged_hd_is_bt709_and_untagged_sd_is_bt601() -> None:
    red = np.full((720, 16, 3), (200, 60, 40), np.uint8)
    for rows, space in ((720, 1), (360, 5)):
        frame = av.VideoFrame.from_ndarray(red[:rows], format="rgb24").reformat(format="yuv420p", dst_colorspace=space)
        frame.colorspace = 2
        assert np.abs(PictureConverter().rgb(frame, AS_DECODED).astype(int) - red[:rows]).max() <= 3


@pytest.mark.parametrize("transform", ALL_TRANSFORMS)
def test_cvo_bytes_round_trip(transform: DisplayTransform) -> None:
    assert transform_of_cvo(cvo_of_transform(transform)) == transform


@given(st.integers(-(2**31), 2**31 - 1), st.lists(st.integers(-65536, 65536), min_size=9, max_size=9))
def test_every_display_matrix_is_accepted(number: int, matrix: list[int]) -> None:
    assert transform_of_matrix([number, *matrix[1:]]).quarter_turns in range(4)


@given(st.floats(), st.integers(2, 4096), st.integers(2, 4096))
def test_aspect_ratios_never_shrink_or_vastly_enlarge_a_picture(aspect: float, width: int, height: int) -> None:
    shown = shown_size(width, height, aspect)
    assert shown[0] >= width
    assert shown[1] >= height
    assert shown[0] * shown[1] <= 4.01 * width * height + 4096


def test_a_frame_without_side_data_is_shown_as_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [plain(0)])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert ShownFrames(stream).rgb(next(iter(container.decode(stream)))).shape == (HEIGHT, WIDTH, 3)
