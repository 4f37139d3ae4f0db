"""The clips of the publishers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import av
import pytest

from api.bench.options import BenchCodec, BenchSize
from api.bench.sample_clips import FRAMES, GROUP_FRAMES, clip_path, ensure_clip
from api.clients.whip import load_clip

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("codec", list(BenchCodec))
def test_a_clip_can_be_published_and_is_made_once(codec: BenchCodec, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = ensure_clip(tmp_path, codec, BenchSize.P360, lambda *step: told.append(step))
    assert told[-1] == (FRAMES, FRAMES)
    clip = load_clip(path)
    assert (clip.codec, len(clip.packets)) == (codec.value, FRAMES)
    assert clip.duration_ticks == pytest.approx(15 * 90_000, abs=90)
    with av.open(str(path)) as container:
        keys = [n for n, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    assert keys[0] == 0
    assert max(later - earlier for earlier, later in pairwise(keys)) <= GROUP_FRAMES
    bits_per_s = sum(len(data) for _, data in clip.packets) * 8 / 15
    assert 350_000 < bits_per_s < 650_000
    made = path.stat().st_mtime_ns
    assert ensure_clip(tmp_path, codec, BenchSize.P360, lambda *_: None) == path
    assert path.stat().st_mtime_ns == made


def test_codecs_and_sizes_have_files_of_their_own(tmp_path: Path) -> None:
    assert len({clip_path(tmp_path, codec, size) for codec in BenchCodec for size in BenchSize}) == 4
