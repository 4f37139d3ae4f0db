"""Sampled clips: which frames are sampled, and that conditions keep them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from detector.config import DetectorConfig
from detector.factory import build_finder
from detector.training.data.datasets import Clip, FaceLocator, frame_key, read_frames, split_halves
from detector.training.evaluation import sampled_clips
from detector.training.evaluation.sampled_clips import SampledClip, SampledFrame
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from pathlib import Path

RATE = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """3 s at 25 frames/s with a hole of 2 s after the first second; the left half grows bright, the right is black."""
    path = tmp_path_factory.mktemp("footage") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for number in range(3 * RATE):
            rgb = np.zeros((64, 128, 3), np.uint8)
            rgb[:, :64] = 3 * number
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number if number < RATE else number + 2 * RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Clip(path, "somebody", "CC0-1.0", paired=True)


def footage_of(clip: Clip, count: int = 4) -> SampledClip:
    face = DetectedFace(FaceBox(4, 8, 44, 58), 0.99, np.full((5, 2), 20, np.float32))
    times = dict(list(sampled_clips.steady_times(clip.path, 2.0, 60.0))[:count])
    frames = tuple(
        SampledFrame(number, times[number], face, split_halves(clip, rgb)) for number, rgb in read_frames(clip, times)
    )
    return SampledClip(clip, frames, 5.0)


def test_the_first_frame_of_every_interval_is_sampled_and_gaps_stay_empty(clip: Clip) -> None:
    taken = [(place, round(time_s, 2)) for place, time_s in sampled_clips.steady_times(clip.path, 2.0, 60.0)]
    assert taken == [(0, 0.0), (13, 0.52), (25, 3.0), (38, 3.52), (50, 4.0), (63, 4.52)]
    assert [place for place, _ in sampled_clips.steady_times(clip.path, 2.0, 3.0)] == [0, 13]


def test_a_clip_is_read_with_the_faces_that_were_found(clip: Clip, tmp_path: Path) -> None:
    known = {
        13: [4.0, 8.0, 44.0, 58.0, 0.99, *[20.0] * 10], 25: None, 38: [900.0, 8.0, 944.0, 58.0, 0.99, *[20.0] * 10],
    }  # fmt: skip
    faces = {frame_key(clip.path, place): known.get(place) for place in (0, 13, 25, 38, 50, 63)}
    (tmp_path / "faces.json").write_text(json.dumps(faces))
    read = sampled_clips.sample_clip(clip, FaceLocator(build_finder(DetectorConfig()), tmp_path / "faces.json"), 2.0)
    assert [(frame.frame_number, frame.time_s) for frame in read.frames] == [(13, pytest.approx(0.52))]
    assert read.length_s == 5.0
    assert read.face_px == 40.0


def test_halves_of_a_pair(clip: Clip) -> None:
    frame = footage_of(clip).frames[1]
    real, swapped = frame.halves
    assert real.shape == swapped.shape == (64, 64, 3)
    assert real.mean() == pytest.approx(3 * 13, abs=4)
    assert swapped.mean() < 4


def test_every_condition_keeps_times_and_faces(clip: Clip, tmp_path: Path) -> None:
    came = footage_of(clip)
    wanted = ("as it came", "noise 3", "vp8 50 kb/s")
    kinds = [kind for kind in sampled_clips.corruption_conditions((3,), tmp_path) if kind.name in wanted]
    made = [kind.apply(came) for kind in kinds]
    assert len(made) == 3
    for shown in made:
        assert shown is not None
        actual, expected = ([(s.frame_number, s.time_s, s.face) for s in clip.frames] for clip in (shown, came))
        assert actual == expected
        light = [frame.halves[0].mean() for frame in shown.frames]
        assert light == pytest.approx([frame.halves[0].mean() for frame in came.frames], abs=12)
    assert [kind.name for kind in sampled_clips.corruption_conditions((), tmp_path)] == ["as it came"]


def test_clips_are_scaled_down_but_never_up(clip: Clip) -> None:
    came = footage_of(clip)
    shrink = {kind.name: kind.apply for kind in sampled_clips.size_conditions()}
    assert came.face_px == 40.0
    assert shrink["face of 48 px"](came) is None
    large = DetectedFace(FaceBox(0, 0, 60, 64), 0.99, np.full((5, 2), 30, np.float32))
    smaller = shrink["face of 48 px"](came._replace(frames=(came.frames[0]._replace(face=large),)))
    assert smaller is not None
    assert smaller.face_px == pytest.approx(48.0)
    assert smaller.frames[0].halves[1].shape == (51, 51, 3)
    assert smaller.frames[0].face.landmarks == pytest.approx(np.full((5, 2), 24.0))
