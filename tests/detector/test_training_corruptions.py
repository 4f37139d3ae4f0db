from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from detector.training.corruptions import LEVELS, Corruption, all_corruptions, recode
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


def test_nothing_is_nothing() -> None:
    assert Corruption().apply(RGB) is RGB
    assert str(Corruption()) == "as it came"
    assert len(all_corruptions()) == 9 * len(LEVELS)


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_clip_at_a_lower_bitrate_has_as_many_frames_and_fewer_bytes(tmp_path: Path, codec: str) -> None:
    video(tmp_path / "clip.mp4", Video(width=320, height=160, frames=20))
    sizes = []
    for kbps in (60, 600):
        recode(tmp_path / "clip.mp4", tmp_path / f"{kbps}.mkv", codec, kbps)
        assert len(frames(tmp_path / f"{kbps}.mkv")) == 20
        sizes.append((tmp_path / f"{kbps}.mkv").stat().st_size)
    assert sizes[0] < sizes[1]


def frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
