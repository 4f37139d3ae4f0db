from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from detector.config import DetectorConfig
from detector.errors import WeightsRefused
from detector.factory import build_finder, build_scorer

if TYPE_CHECKING:
    from pathlib import Path

SERVING = (
    "import detector.factory, detector.openvino_scorer, detector.mtcnn_finder, detector.face_crop, detector.gradcam"
)
FOREIGN = ("tensorflow", "keras", "mtcnn", "av", "scipy.optimize", "detector.training")


def test_serving_does_not_load_the_training_stack() -> None:
    check = f"{SERVING}, sys; print([name for name in {FOREIGN!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"import sys; {check}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_building_a_scorer_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused):
        build_scorer(DetectorConfig(weights_dir=tmp_path))


def test_the_shipped_parts_fit_together() -> None:
    from detector.face_crop import crop_face
    from detector.training.data.datasets import read_rgb
    from tests.detector.pictures import MEDIA

    rgb = read_rgb(MEDIA / "obama.jpg")
    config = DetectorConfig()
    faces = build_finder(config).find(rgb)[:1]
    scores = build_scorer(config).score([crop_face(rgb, face) for face in faces])
    assert len(scores) == 1
    assert 0 < scores[0].prob_fake < 1


@pytest.mark.parametrize("wrong", [{"num_threads": 0}, {"max_batch": 0}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DetectorConfig(**wrong)
