from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from detector.training.data.datasets import Clip, read_frames, read_rgb
from detector.training.evaluation.corruptions import (
    LEVELS,
    Corruption,
    Transcoding,
    all_corruptions,
    recode_clip,
    recode_file,
    recode_picture,
)
from tests.detector.pictures import portrait
from tests.synthetic import Clip as Video
from tests.synthetic import video

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RGB = portrait(2).rgb


@pytest.mark.parametrize("name", sorted({corruption.name for corruption in all_corruptions()}))
def test_higher_levels_change_more_and_sizes_stay(name: str) -> None:
    found = [Corruption(name, level).apply(RGB) for level in (1, 5)]
    changes = [np.abs(rgb.astype(int) - RGB).mean() for rgb in found]
    assert all(rgb.shape == RGB.shape and rgb.dtype == np.uint8 for rgb in found)
    assert 0 < changes[0] < changes[1]
    assert np.array_equal(Corruption(name, 1).apply(RGB), found[0]), "alike for both of a pair"


def test_no_corruption_returns_the_picture_unchanged() -> None:
    assert Corruption().apply(RGB) is RGB
    assert str(Corruption()) == "as it came"
    assert len(all_corruptions()) == 9 * len(LEVELS)


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_clip_at_a_lower_bitrate_has_as_many_frames_and_fewer_bytes(tmp_path: Path, codec: str) -> None:
    video(tmp_path / "clip.mp4", Video(width=320, height=160, frames=20))
    sizes = []
    for kbps in (60, 600):
        recode_file(tmp_path / "clip.mp4", tmp_path / f"{kbps}.mkv", codec, kbps)
        assert len(frames(tmp_path / f"{kbps}.mkv")) == 20
        sizes.append((tmp_path / f"{kbps}.mkv").stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_picture_at_a_lower_bitrate_loses_more_and_is_not_shifted(codec: str) -> None:
    rgb = RGB[:201, :211]
    low, high = (recode_picture(rgb, Transcoding(codec, kbps)) for kbps in (50, 5000))
    assert low.shape == high.shape == rgb.shape
    losses = [np.abs(coded.astype(int) - rgb).mean() for coded in (low, high)]
    assert losses[1] < 0.7 * losses[0]
    moved = np.abs(np.roll(high, 1, axis=1).astype(int) - rgb).mean()
    assert losses[1] < moved


def test_pictures_of_a_pair_are_coded_at_one_size(tmp_path: Path) -> None:
    for name, side in (("real", 128), ("fake", 256)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.resize(RGB, (side, side))[:, :, ::-1])
    clip = Clip(tmp_path / "real.png", "anna", "", paired=True, swap=tmp_path / "fake.png")
    coding, folder = Transcoding("vp8", 150), tmp_path / "coded"
    coded = recode_clip(clip, coding, folder)
    assert coded.swap is not None
    assert {read_rgb(path).shape for path in (coded.path, coded.swap)} == {(128, 128, 3)}
    assert coded.path != recode_clip(replace(clip, swap=tmp_path / "real.png"), coding, folder).path
    before = coded.path.stat().st_mtime_ns
    assert recode_clip(clip, coding, folder).path.stat().st_mtime_ns == before, "coded once"


def test_each_file_of_a_pair_is_coded_at_the_full_bitrate(tmp_path: Path) -> None:
    for name in ("real", "fake"):
        video(tmp_path / f"{name}.mp4", Video(width=320, height=160, frames=20))
    one = Clip(tmp_path / "real.mp4", "anna", "", paired=True)
    two = replace(one, swap=tmp_path / "fake.mp4")
    coding = Transcoding("h264", 60)
    half, whole = (recode_clip(clip, coding, tmp_path / name) for name, clip in (("a", two), ("b", one)))
    assert half.swap is not None
    assert len(frames(half.swap)) == len(frames(half.path)) == 20
    assert whole.swap is None
    assert half.path.stat().st_size < whole.path.stat().st_size, "a file that two halves share has twice the rate"
    assert [rgb.shape for _, rgb in read_frames(half, [0, 19])] == [(160, 640, 3)] * 2


def frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
