"""Scorer on random weights: contracts, not quality of scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.array_file import write_arrays
from detector.config import DetectorConfig, Precision
from detector.errors import WeightsRefused
from detector.face_crop import crop_face
from detector.fusion import log_likelihood_ratio, prob_fake
from detector.model_artifact import MANIFEST_FILE, Manifest, sha256_of, write_manifest
from detector.openvino_scorer import OpenVinoScorer
from tests.detector.pictures import face_at, network_arrays, portrait, write_artefact

if TYPE_CHECKING:
    from pathlib import Path

    from detector.types import FaceCrop


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("artefact")
    return folder, write_artefact(folder)


@pytest.fixture(scope="module")
def scorer(artefact: tuple[Path, Manifest]) -> OpenVinoScorer:
    return OpenVinoScorer(DetectorConfig(weights_dir=artefact[0], precision=Precision.FLOAT32))


@pytest.fixture(scope="module")
def crops() -> list[FaceCrop]:
    return [crop_face(face.rgb, face.face) for face in map(portrait, range(7))]


def test_scores_keep_the_order_of_crops_at_any_batch_size(scorer: OpenVinoScorer, crops: list[FaceCrop]) -> None:
    together = scorer.score(crops)
    alone = [scorer.score([crop])[0] for crop in crops]
    assert len(together) == len(crops)
    assert len({round(score.logit, 3) for score in alone}) == len(crops)
    for one, other in zip(together, alone, strict=True):
        assert one.logit == pytest.approx(other.logit, abs=1e-3)
        assert np.allclose(one.heat_map, other.heat_map, atol=1e-3)


def test_score_fields_have_documented_shapes_and_ranges(
    scorer: OpenVinoScorer, crops: list[FaceCrop], artefact: tuple[Path, Manifest]
) -> None:
    for score, crop in zip(scorer.score(crops), crops, strict=True):
        assert score.llr == pytest.approx(log_likelihood_ratio(score.logit, None, artefact[1].calibration))
        assert score.prob_fake == pytest.approx(prob_fake(score.llr))
        assert score.frequency_score is not None
        assert 0 <= score.frequency_score <= 1
        assert score.quality.face_px == crop.face_px
        assert score.heat_map.shape == (7, 7)
        assert score.heat_map.dtype == np.float32
        assert score.heat_map.min() >= 0
        assert score.heat_map.max() <= 1


def test_a_second_call_does_not_overwrite_earlier_scores(scorer: OpenVinoScorer, crops: list[FaceCrop]) -> None:
    first = scorer.score(crops[:1])[0]
    kept = first.heat_map.copy()
    scorer.score(crops[1:3])
    assert np.array_equal(first.heat_map, kept)


def test_small_faces_have_no_frequency_score(scorer: OpenVinoScorer) -> None:
    face = portrait(0)
    small = crop_face(face.rgb, face_at(90, 90, 80))
    assert scorer.score([small])[0].frequency_score is None


def test_an_empty_batch_gives_no_scores(scorer: OpenVinoScorer) -> None:
    assert scorer.score([]) == ()


def test_info_identifies_the_model(scorer: OpenVinoScorer, artefact: tuple[Path, Manifest]) -> None:
    assert scorer.info == artefact[1].info


def test_bfloat16_stays_near_float32(
    artefact: tuple[Path, Manifest], scorer: OpenVinoScorer, crops: list[FaceCrop]
) -> None:
    """Where the CPU has no bfloat16 OpenVINO computes in float32, and the two agree even better."""
    rough = OpenVinoScorer(DetectorConfig(weights_dir=artefact[0], precision=Precision.BFLOAT16))
    exact = np.array([score.logit for score in scorer.score(crops)])
    near = np.array([score.logit for score in rough.score(crops)])
    spread = exact.std()
    assert math.isfinite(spread)
    assert np.abs(near - exact).max() < 0.25 * spread


def test_without_weights_there_is_no_scorer(tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused, match=MANIFEST_FILE):
        OpenVinoScorer(DetectorConfig(weights_dir=tmp_path))


@pytest.mark.parametrize("damage", ["missing", "misshapen"])
def test_arrays_that_do_not_make_the_network_are_refused(
    tmp_path: Path, artefact: tuple[Path, Manifest], damage: str
) -> None:
    arrays = network_arrays()
    if damage == "missing":
        del arrays["block9_sepconv2|pointwise_kernel"]
    else:
        arrays["block9_sepconv2|pointwise_kernel"] = np.zeros((700, 728, 1, 1), np.float16)
    write_arrays(tmp_path / "xception.npz", arrays)
    old = artefact[1]
    digest = sha256_of(tmp_path / "xception.npz")
    write_manifest(
        tmp_path, Manifest(old.name, old.version, old.arrays_file, digest, old.calibration, old.frequency, {})
    )
    with pytest.raises(WeightsRefused):
        OpenVinoScorer(DetectorConfig(weights_dir=tmp_path))
