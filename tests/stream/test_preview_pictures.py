from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.face_crop import crop_face
from detector.types import DetectedFace, FaceBox
from stream.frame_analyser import ExaminedFrame
from stream.preview_pictures import EVIDENCE_WIDTH_PX, PictureRenderer, blurred
from tests.stream.observations import face

if TYPE_CHECKING:
    from stream.types import FaceObservation

WIDTH, HEIGHT = 1280, 720
BOX = (0.4, 0.3, 0.2, 0.4)


def frame(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Returns the decoded picture as RGB uint8."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1], dtype=np.uint8)


def examined(*faces: FaceObservation) -> ExaminedFrame:
    rgb = frame()
    box = FaceBox(BOX[0] * WIDTH, BOX[1] * HEIGHT, (BOX[0] + BOX[2]) * WIDTH, (BOX[1] + BOX[3]) * HEIGHT)
    crop = crop_face(rgb, DetectedFace(box, 0.99, np.zeros((5, 2), np.float32)))
    return ExaminedFrame(faces, crops={seen.track: crop for seen in faces})


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 240), (100, 50), (1, 1), (5000, 2)])
@pytest.mark.parametrize("blur", [False, True])
def test_previews_are_small_jpegs(width: int, height: int, blur: bool) -> None:
    seen = picture(PictureRenderer(0.0, 320, blur).preview(frame(width, height), examined(face(llr=3.0))))
    assert seen.shape[1] == min(width, 320)
    assert seen.shape[0] == max(1, round(height * min(1.0, 320 / width)))


def test_evidence_shows_suspicious_faces_only() -> None:
    renderer = PictureRenderer(1.0, 320, blur_faces=False)
    assert renderer.evidence(frame(), examined(face(1, llr=1.0), face(2, llr=None))) is None
    found = renderer.evidence(frame(), examined(face(1, llr=0.5), face(2, llr=1.5)))
    assert found is not None
    assert [seen.track for seen in found.faces] == [2]
    assert picture(found.jpeg).shape == (round(HEIGHT * EVIDENCE_WIDTH_PX / WIDTH), EVIDENCE_WIDTH_PX, 3)
    assert len(found.faces[0].spectrum) == 32


def test_the_networks_input_is_kept_without_loss() -> None:
    given = examined(face(llr=3.0))
    found = PictureRenderer(1.0, 320, blur_faces=False).evidence(frame(), given)
    assert found is not None
    assert found.faces[0].png is not None
    assert (picture(found.faces[0].png) == given.crops[1].rgb).all()


def test_blurring_leaves_no_sharp_picture_of_a_face() -> None:
    found = PictureRenderer(1.0, 320, blur_faces=True).evidence(frame(), examined(face(llr=3.0)))
    assert found is not None
    assert found.faces[0].png is None
    plain = PictureRenderer(1.0, 320, blur_faces=False).evidence(frame(), examined(face(llr=3.0)))
    assert plain is not None
    hidden, shown = picture(found.jpeg), picture(plain.jpeg)
    inside = (slice(120, 240), slice(260, 380))
    assert hidden[inside].std() < 0.3 * shown[inside].std()
    outside = (slice(0, 60), slice(0, 640))
    assert np.abs(hidden[outside].astype(int) - shown[outside]).mean() < 2


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 1.0, 1.0), (0.9, 0.9, 0.1, 0.1), (1.0, 1.0, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0)]
)
def test_any_box_can_be_blurred(box: tuple[float, float, float, float]) -> None:
    rgb = frame(64, 48)
    before = rgb.copy()
    covered = blurred(rgb, [box])
    assert covered.shape == rgb.shape
    assert (rgb == before).all(), "the frame itself is not changed"
    assert (covered != rgb).any() or box[2] == 0
