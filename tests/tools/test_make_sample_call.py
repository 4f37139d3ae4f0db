"""The sample call: what is shipped, and the steps that make it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tools.make_sample_call import (
    DURATION_S,
    HEIGHT_PX,
    RATE_HZ,
    TEMPLATE,
    WIDTH_PX,
    Motion,
    Sensor,
    Wander,
    blend_two_bands,
    eyes_to_mouth_px,
    match_colour,
    sample_layer,
)

CLIP = Path("api/demo_media/sample_call.mp4")


def test_the_clip_that_is_shipped_suits_webrtc() -> None:
    assert CLIP.stat().st_size <= 3 * 10**6
    with av.open(str(CLIP)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.codec_context.profile) == ("h264", "Constrained Baseline")
        assert (video.width, video.height, video.average_rate) == (WIDTH_PX, HEIGHT_PX, RATE_HZ)
        packets = [packet for packet in container.demux(video) if packet.pts is not None]
        assert [packet.pts for packet in packets] == [packet.dts for packet in packets]
        assert len(packets) == DURATION_S * RATE_HZ
        keys = [n for n, packet in enumerate(packets) if packet.is_keyframe]
        assert keys[0] == 0
        assert max(b - a for a, b in pairwise(keys)) <= 2 * RATE_HZ


def test_the_face_is_another_one_in_the_middle_third_alone() -> None:
    """From one frame to the next the face changes at 15 s and at 30 s, and hardly at any other time."""
    changes = {}
    with av.open(str(CLIP)) as container:
        before = None
        for number, frame in enumerate(container.decode(video=0)):
            picture = frame.to_ndarray(format="gray")[90:230, 250:400].astype(float)
            if before is not None:
                changes[number] = float(np.abs(picture - before).mean())
            before = picture
    largest = sorted(changes, key=changes.__getitem__)[-2:]
    assert sorted(largest) == [15 * RATE_HZ, 30 * RATE_HZ]
    assert min(changes[n] for n in largest) > 1.4 * sorted(changes.values())[-3]


def test_motion_is_smooth_bounded_and_the_same_for_the_same_seed() -> None:
    def path() -> list[tuple[float, ...]]:
        motion = Motion(np.random.default_rng(5))
        poses = [motion.at(n / RATE_HZ) for n in range(900)]
        return [(*pose.pan, pose.zoom, pose.roll_rad, *pose.body, *pose.head, pose.head_roll_rad) for pose in poses]

    steps = np.abs(np.diff(np.array(path()), axis=0))
    assert steps.max() < 3
    assert np.abs(np.array(path())).max() < 60
    assert path() == path()


def test_a_wander_stays_within_its_amplitude() -> None:
    wander = Wander(np.random.default_rng(1), 4.0, 0.1, 0.5)
    assert max(abs(wander.at(n / 10)) for n in range(3000)) <= 4.0 * 5 / 2.5


def test_the_sensor_adds_noise_and_light_that_drifts() -> None:
    sensor = Sensor(np.random.default_rng(2))
    grey = np.full((HEIGHT_PX, WIDTH_PX, 3), 120.0)
    first, later = sensor.expose(grey, 0.0), sensor.expose(grey, 20.0)
    assert first.dtype == np.uint8
    assert 1 < np.diff(first[..., 1].astype(float), axis=1).std() < 8
    assert abs(first.mean() - later.mean()) > 1


def test_colours_are_matched_inside_the_mask() -> None:
    rng = np.random.default_rng(3)
    face = rng.integers(120, 200, (60, 60, 3)).astype(np.uint8)
    frame = rng.integers(40, 90, (60, 60, 3)).astype(np.uint8)
    inside = np.zeros((60, 60), bool)
    inside[10:50, 10:50] = True
    matched = match_colour(face, frame, inside)
    assert cv2.cvtColor(matched, cv2.COLOR_BGR2LAB)[inside].mean(axis=0) == pytest.approx(
        cv2.cvtColor(frame, cv2.COLOR_BGR2LAB)[inside].mean(axis=0), abs=3
    )


def test_the_blend_is_the_face_in_the_middle_and_the_frame_outside() -> None:
    face, frame = np.full((120, 120, 3), 200, np.uint8), np.full((120, 120, 3), 50, np.uint8)
    mask = np.zeros((120, 120), np.float32)
    cv2.circle(mask, (60, 60), 35, 1.0, -1)
    mixed = blend_two_bands(face, frame, mask)
    assert mixed[60, 60].tolist() == pytest.approx([200] * 3, abs=3)
    assert mixed[2, 2].tolist() == [50] * 3
    edge = mixed[60, :, 0].astype(int)
    assert np.abs(np.diff(edge)).max() < 15


def test_looking_up_a_layer_interpolates() -> None:
    layer = np.arange(100, dtype=np.float32).reshape(10, 10, 1)
    where = np.array([[(3.0, 2.0), (3.5, 2.0), (3.0, 2.5)]])
    assert sample_layer(layer, where).ravel().tolist() == pytest.approx([23, 23.5, 28])


def test_the_template_is_an_upright_face() -> None:
    assert 0.2 < eyes_to_mouth_px(TEMPLATE) < 0.4
    assert TEMPLATE[:, 0].mean() == pytest.approx(0.5)
