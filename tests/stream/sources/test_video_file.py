from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from stream.errors import MediaRefused
from stream.file_type import MediaKind
from stream.media_limits import MediaLimits
from stream.sources.video_file import CODECS, FileSample, Sampling, VideoFile, identify
from tests.synthetic import Clip, audio_only, number_on, video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITS = MediaLimits()
B_FRAMES = {"preset": "fast", "tune": "film", "bf": "2", "b-adapt": "0"}
OPEN_GOP = {**B_FRAMES, "x264-params": "open-gop=1"}


def read(path: Path, sampling: Sampling, limits: MediaLimits = LIMITS) -> tuple[VideoFile, list[FileSample]]:
    reader = VideoFile(path, identify(path, limits), limits)
    return reader, [sample for sample in reader.samples(sampling) if sample is not None]


def refusal(path: Path, limits: MediaLimits = LIMITS) -> tuple[str, int]:
    with pytest.raises(MediaRefused) as refused:
        read(path, Sampling(8, 5), limits)
    return refused.value.code, refused.value.status


def all_frames(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a.mp4", Clip(encoder="libx264", options=B_FRAMES, frames=60)),
        ("a.mov", Clip(encoder="libx265", frames=60)),
        ("a.mkv", Clip(encoder="libx264", options=OPEN_GOP, frames=60)),
        ("a.webm", Clip(encoder="libvpx", frames=60)),
        ("a9.webm", Clip(encoder="libvpx-vp9", frames=60)),
        ("av1.mp4", Clip(encoder="libsvtav1", frames=60)),
        ("a.ts", Clip(encoder="libx264", options=B_FRAMES, frames=60)),
        ("m2.ts", Clip(encoder="mpeg2video", frames=60)),
        ("h264.avi", Clip(encoder="libx264", options=B_FRAMES, frames=60)),
        ("mpeg4.avi", Clip(encoder="mpeg4", options={"bf": "2"}, frames=60)),
        ("mjpeg.avi", Clip(encoder="mjpeg", pixels="yuvj420p", frames=60)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samples_are_the_frames_that_decoding_everything_gives(tmp_path: Path, name: str, clip: Clip) -> None:
    path = video(tmp_path / name, clip)
    reader, samples = read(path, Sampling(max_samples=7, rate_hz=5))
    everything = list(all_frames(path))
    assert reader.facts.total_frames == len(everything) == 60
    assert reader.facts.bad_frames == 0
    assert reader.facts.duration_s == pytest.approx(2.0, abs=0.05)
    assert reader.facts.fps == pytest.approx(30, abs=0.01)
    assert reader.facts.codec in CODECS
    assert reader.planned == len(samples) == 7
    for sample, number in zip(samples, [4, 12, 21, 30, 38, 47, 55], strict=True):
        assert abs(sample.frame_number - number) <= 1
        assert sample.pts_s == pytest.approx(sample.frame_number / 30, abs=0.002)
        assert np.array_equal(sample.rgb, everything[sample.frame_number])
        assert number_on(sample.rgb) == sample.frame_number


@pytest.mark.parametrize("gop", [1, 7, 250])
def test_skipped_groups_of_pictures_change_nothing(tmp_path: Path, gop: int) -> None:
    path = video(tmp_path / "a.mp4", Clip(128, 96, frames=150, gop=gop, options=B_FRAMES))
    everything = list(all_frames(path))
    for wanted in (1, 2, 5, 40):
        _, samples = read(path, Sampling(wanted, 60))
        assert len(samples) == wanted
        assert all(np.array_equal(sample.rgb, everything[sample.frame_number]) for sample in samples)


@pytest.mark.parametrize(
    "clip",
    [
        Clip(1, 1, frames=3, encoder="mpeg4"),
        Clip(3, 5, frames=3, encoder="mpeg4"),
        Clip(1001, 3, frames=3, encoder="mjpeg", pixels="yuvj444p"),
        Clip(16, 4096, frames=3),
        Clip(frames=1),
        Clip(frames=3, pixels="yuv420p10le"),
        Clip(frames=3, pixels="yuv444p"),
        Clip(frames=30, fps=240),
        Clip(frames=3, fps=1),
    ],
    ids=repr,
)
def test_odd_but_complete_videos_are_read(tmp_path: Path, clip: Clip) -> None:
    path = video(tmp_path / "a.mkv", clip)
    reader, samples = read(path, Sampling(8, 5))
    assert 1 <= len(samples) <= 8
    assert samples[0].rgb.shape == (clip.height, clip.width, 3)
    assert reader.facts.total_frames == clip.frames


def test_a_turned_video_is_decoded_upright(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(320, 240, frames=3))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40       # version 0: the matrix follows 40 bytes of other fields
    quarter_turn_clockwise = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 240 * 0x10000, 0, 0x40000000)
    data[at : at + 36] = quarter_turn_clockwise
    path.write_bytes(bytes(data))
    (sample,) = read(path, Sampling(1, 5))[1]
    assert sample.rgb.shape == (320, 240, 3)
    assert number_on(np.rot90(sample.rgb)) == sample.frame_number


def test_the_size_may_change_inside_a_transport_stream(tmp_path: Path) -> None:
    parts = [video(tmp_path / f"{w}.ts", Clip(w, h, frames=15)) for w, h in ((320, 240), (160, 128))]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    _, samples = read(path, Sampling(30, 60))
    assert {sample.rgb.shape[:2] for sample in samples} == {(240, 320), (128, 160)}


def test_damage_inside_is_skipped_and_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", Clip(frames=90, gop=10))
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data) // 3 + 600):
        data[at] ^= 0xA5
    path.write_bytes(bytes(data))
    reader, samples = read(path, Sampling(90, 60))
    assert samples
    assert reader.facts.bad_frames > 0
    assert all(number_on(sample.rgb) % 90 == number_on(sample.rgb) for sample in samples)


@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_a_file_with_audio_alone_is_refused(tmp_path: Path, seconds: float) -> None:
    assert refusal(audio_only(tmp_path / "a.mp4", seconds)) == ("no_video", 422)


def test_a_container_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        output.start_encoding()
    assert refusal(path)[1] == 422


@pytest.mark.parametrize("encoder", ["ffv1", "magicyuv", "huffyuv", "rawvideo"])
def test_codecs_outside_the_list_are_refused(tmp_path: Path, encoder: str) -> None:
    pixels = {"ffv1": "yuv420p", "magicyuv": "gbrp", "huffyuv": "yuv422p", "rawvideo": "yuv420p"}[encoder]
    path = video(tmp_path / "a.avi", Clip(encoder=encoder, pixels=pixels, frames=5))
    assert refusal(path) == ("unsupported_media", 415)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (MediaLimits(video_pixels=320 * 240 - 1), "pixels"),
        (MediaLimits(video_side_px=319), "side"),
        (MediaLimits(frames=29), "frames"),
        (MediaLimits(duration_s=0.9), "lasts"),
        (MediaLimits(file_bytes=1000), "bytes"),
    ],
)
def test_each_limit_refuses(tmp_path: Path, limits: MediaLimits, what: str) -> None:
    path = video(tmp_path / "a.mp4", Clip(frames=30))
    read(path, Sampling(2, 5))
    with pytest.raises(MediaRefused, match=what) as refused:
        read(path, Sampling(2, 5), limits)
    assert (refused.value.code, refused.value.status) == ("too_large", 413)


def test_a_video_that_grows_inside_is_refused(tmp_path: Path) -> None:
    parts = [video(tmp_path / f"{w}.ts", Clip(w, h, frames=15)) for w, h in ((160, 128), (640, 480))]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert refusal(path, MediaLimits(video_pixels=320 * 240)) == ("too_large", 413)


def test_files_are_checked_before_they_are_opened(tmp_path: Path) -> None:
    empty, link = tmp_path / "empty", tmp_path / "link"
    empty.touch()
    link.symlink_to(video(tmp_path / "a.mp4", Clip(frames=3)))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refusal(empty) == ("empty_file", 400)
    assert refusal(link) == ("unsupported_media", 415)
    assert refusal(fifo) == ("unsupported_media", 415)


def test_file_names_are_ignored(tmp_path: Path) -> None:
    path = shutil.copy(video(tmp_path / "a.mp4", Clip(frames=3)), tmp_path / "x.jpg")
    assert identify(path, LIMITS) is MediaKind.MP4


def test_steps_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sources.video_file._STEP_S", 0.0)     # on any machine, a step has lasted long enough
    path = video(tmp_path / "a.mp4", Clip(640, 360, frames=300, gop=300))
    reader = VideoFile(path, MediaKind.MP4, LIMITS)
    steps = list(reader.samples(Sampling(1, 5)))
    assert steps.count(None) >= 1
    assert len([step for step in steps if step is not None]) == 1


def test_an_abandoned_reader_closes_its_file(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", Clip(frames=30))
    before = len(os.listdir("/proc/self/fd"))
    steps = VideoFile(path, MediaKind.MP4, LIMITS).samples(Sampling(10, 60))
    next(steps)
    del steps
    assert len(os.listdir("/proc/self/fd")) == before
