"""Verdicts for tests of a call's history."""

from __future__ import annotations

from typing import Any

from stream.events import Decision, FaceVerdict, Label, Reason, Verdict
from stream.types import FrameCounts
from tests.stream.observations import CLEAR, MODEL


def judged(sequence: int, stream: str = "call", epoch: int = 7, suspicion: float = 0.0, **fields: Any) -> Verdict:
    """Returns window number `sequence` of a call with one face, every half second."""
    face = FaceVerdict(
        track=1, box=(0.4, 0.3, 0.2, 0.4), label=Label.UNCERTAIN, reason=Reason.MONITORING, samples=8, prob_fake=0.5,
        llr=0.0, frequency_score=0.2, quality=CLEAR, suspicion=suspicion, alarm=False,
    )
    usual: dict[str, Any] = {
        "start_s": max(0.0, sequence / 2 - 4), "end_s": sequence / 2, "samples": 8, "wanted": 8, "coverage": 1.0,
        "rate_hz": 2.0, "label": Label.UNCERTAIN, "reason": Reason.MONITORING, "prob_fake": 0.5, "llr": 0.0,
        "faces": (face,), "frames": FrameCounts(), "age_ms": 120.0, "model": MODEL,
        "decision": Decision(limit=12.0, clear_bound=-2.3, tracks=()),
    }
    values = {**usual, **fields}
    return Verdict(id=f"{stream}/{epoch}/{sequence}", stream=stream, epoch=epoch, sequence=sequence, **values)
