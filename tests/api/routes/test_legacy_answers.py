from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.routes.legacy_answers import gradcam_answer, predict_answer
from api.routes.schemas import Answer, GradcamAnswer, ImageAnswer, VideoAnswer
from stream.events import REASON_TEXT, Label, Reason
from tests.api.shapes import answer_as, deviations, differences, golden
from tests.api.verdicts import verdict, video_verdict

if TYPE_CHECKING:
    from stream.file_verdict import FileVerdict

VERDICTS = [
    verdict(),
    verdict(Label.REAL, Reason.EVIDENCE_REAL, 0.04),
    verdict(Label.UNCERTAIN, Reason.BETWEEN_BOUNDS, 0.6),
    verdict(Label.UNCERTAIN, Reason.NO_MODEL, None),
    verdict(Label.UNCERTAIN, Reason.FACE_TOO_SMALL, None),
    verdict(Label.NO_FACE, Reason.NO_FACE, None),
]
VIDEOS = [
    video_verdict(),
    video_verdict(None, label=Label.NO_FACE, reason=Reason.NO_FACE, consistency=None, faces=(), frame_predictions=()),
]


def plain(answer: Answer) -> dict[str, Any]:
    """As a client decodes it."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return decoded


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("predict_image", predict_answer(verdict(), 1.23456)),
        ("predict_video", predict_answer(video_verdict(), 5.67)),
        ("gradcam", gradcam_answer(verdict(), b"\x89PNG")),
    ],
)
def test_the_examples_of_the_older_api_hold_value_by_value(name: str, given: Answer) -> None:
    example, answer = golden("examples")[name], plain(given)
    assert differences(example, answer) == []
    assert list(answer)[: len(example)] == list(example)


@pytest.mark.parametrize("given_verdict", VERDICTS + VIDEOS, ids=lambda v: f"{v.file_type}-{v.reason}")
def test_every_outcome_has_the_stored_shape(given_verdict: FileVerdict) -> None:
    answer = plain(predict_answer(given_verdict, 0.1))
    assert deviations(golden(f"predict_{given_verdict.file_type}"), answer) == []
    answer_as(ImageAnswer if given_verdict.file_type == "image" else VideoAnswer, answer)
    if given_verdict.file_type == "image":
        explained = plain(gradcam_answer(given_verdict, b"\x89PNG"))
        assert deviations(golden("gradcam"), explained) == []
        answer_as(GradcamAnswer, explained)


@given(st.floats(0, 1), st.sampled_from(sorted(Label)), st.sampled_from(sorted(Reason)))
def test_the_confidence_is_that_of_the_label(prob_fake: float, label: Label, reason: Reason) -> None:
    answer = plain(predict_answer(verdict(label, reason, prob_fake), 0.0))
    assert answer["probabilities"]["REAL"] + answer["probabilities"]["FAKE"] == pytest.approx(100, abs=0.01)
    if label in (Label.REAL, Label.FAKE):
        assert answer["label"] == label
        assert answer["confidence"] == answer["adjusted_confidence"] == answer["probabilities"][label]
    else:
        assert answer["label"] == "UNCERTAIN"
        assert answer["confidence"] is answer["adjusted_confidence"] is None
    assert answer["reason_text"] == REASON_TEXT[reason]


def test_the_shape_check_can_fail() -> None:
    shape = {"a": "percent|null", "b": ["count"], "c": "=x"}
    assert deviations(shape, {"a": None, "b": [1], "c": "x"}) == []
    assert len(deviations(shape, {"a": 12.345, "b": [-1], "c": "y", "d": 1})) == 4
    assert deviations(shape, {"a": 1, "b": []}) == [".c: missing"]
    assert differences({"a": 1.0}, {"a": 1}) != []
