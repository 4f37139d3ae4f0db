"""Limits of media as settings: the service and the command line refuse what is above them, with limit and value."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tests.api.ingest.pull.support import remux
from tests.api.rig import running_rig

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {"max_video_s": 2, "max_picture_pixels": 100_000}


def test_the_service_names_limit_and_value(tmp_path: Path) -> None:
    short, long = (remux(tmp_path / f"{seconds}.mp4", seconds).read_bytes() for seconds in (1.5, 3.0))
    pictures = [cv2.imencode(".png", np.zeros((height, 400, 3), np.uint8))[1].tobytes() for height in (240, 300)]
    with running_rig(**SETTINGS) as rig, rig.client() as client:
        answers = [client.post("/predict", files={"file": ("f", content)}) for content in (short, long, *pictures)]
    assert [answer.status_code for answer in answers] == [200, 413, 200, 413]
    assert answers[1].json()["error"]["message"] == "the video lasts 3 s; the limit is 2 s"
    assert "120000 pixels are over the limit of 100000" in answers[3].json()["error"]["message"]


def test_large_frames_are_refused_by_their_setting(tmp_path: Path) -> None:
    clip = remux(tmp_path / "clip.mp4", 1.0).read_bytes()
    with running_rig(max_video_pixels=65_536) as rig, rig.client() as client:
        answer = client.post("/predict", files={"file": ("f", clip)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "65536" in answer.json()["error"]["message"]


def test_the_command_obeys_the_same_settings(tmp_path: Path) -> None:
    long = remux(tmp_path / "long.mp4", 3.0)
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "score", str(long)], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "DEEPGUARD_MAX_VIDEO_S": "2", "LOG_DIR": ""},
    )
    assert done.returncode == 1
    assert "the limit is 2 s" in done.stdout + done.stderr
