"""One clip, through Kafka as pictures, access units and segments, and as a file: its face gets the same evidence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from statistics import mean
from typing import TYPE_CHECKING

import pytest

from consumers.record_form import RecordForm
from tests.api.rig import running_rig
from tests.e2e.kafka_support import Course, Member
from tests.e2e.test_parity import SECONDS, TOLERANCE, cut, per_sample

if TYPE_CHECKING:
    from pathlib import Path

    from stream.events import Verdict
    from tests.kafka.cluster import Cluster

WINDOW_S = 4.0


def produce(course: Course, clip: Path, form: RecordForm) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "produce", str(clip), "--as", form, "--stream", f"as-{form}", "--fps", "0"],
        env=course.environment(""), capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr


def evidence(verdicts: list[Verdict], form: RecordForm) -> list[float]:
    """Per sample, of all full windows of this stream."""
    full = [v for v in verdicts if v.stream == f"as-{form}" and v.end_s - v.start_s > WINDOW_S - 0.1]
    assert all(verdict.coverage == 1.0 for verdict in full)
    faces = [face for verdict in full for face in verdict.faces if face.llr is not None]
    return [per_sample(face.llr or 0.0, face.samples) for face in faces]


def test_every_way_through_kafka_agrees_with_the_file(kafka: Cluster, tmp_path: Path) -> None:
    clip, course = cut(tmp_path / "clip.mp4"), Course.on(kafka, 3)
    for form in RecordForm:
        produce(course, clip, form)
    consumer = Member(course, "one", tmp_path)
    consumer.start()
    try:
        with running_rig() as rig, rig.client() as client:
            answer = client.post("/predict", files={"file": ("clip.mp4", clip.read_bytes(), "video/mp4")})
            assert answer.status_code == 200, answer.text
        asyncio.run(course.until_ended(len(RecordForm), 120))
    finally:
        consumer.end()
    (face,) = answer.json()["faces"]
    whole = per_sample(face["llr"], face["samples"])
    verdicts = asyncio.run(course.verdicts())
    for form in RecordForm:
        found = evidence(verdicts, form)
        assert len(found) >= (SECONDS - WINDOW_S) * 2 - 2
        assert mean(found) == pytest.approx(whole, abs=TOLERANCE), form
