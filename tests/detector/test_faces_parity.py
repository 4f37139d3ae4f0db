"""Parity of `MtcnnFaceFinder` with the `mtcnn` package, on the same pictures.

With a data folder (DEEPGUARD_TEST_DATA, or `../shared/data` beside the checkout): 200 stills and over 200 frames of
clips. Without one: the portraits and the sample call that are shipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from detector import geometry
from detector.mtcnn_finder import MtcnnConfig, MtcnnFaceFinder
from tests.detector.parity_pictures import CHECKOUT, data_folder, pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Reference = dict[str, list[list[float]]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SAME_FACE_IOU = 0.5
LEAST_RECALL = 0.99
LEAST_MEDIAN_IOU = 0.9
KINDS = ("still", "frame")
LEAST_SHIPPED = {"still": 10, "frame": 60}
PRECISIONS: tuple[Literal["f32"], Literal["auto"]] = ("f32", "auto")


@dataclass
class Tally:
    pictures: int = 0
    ious: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def add(self, name: str, overlap: NDArray[np.float64], counts: NDArray[np.bool_]) -> None:
        """`overlap` is (reference, ours); `counts` marks the reference faces that are large enough to be required."""
        self.pictures += 1
        best = overlap.max(axis=1, initial=0)
        self.ious += best[counts & (best >= SAME_FACE_IOU)].tolist()
        self.missed += [name] * int((counts & (best < SAME_FACE_IOU)).sum())
        self.extra += [name] * int((overlap.max(axis=0, initial=0) < SAME_FACE_IOU).sum())

    @property
    def recall(self) -> float:
        return len(self.ious) / (len(self.ious) + len(self.missed))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    empty = tmp_path_factory.mktemp("reference")
    output = tmp_path_factory.mktemp("faces") / "faces.json"
    command = [sys.executable, "-m", "tests.detector.mtcnn_reference", str(output)]
    folder = data_folder()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        command + ([str(folder.resolve())] if folder else []), cwd=empty, env=environment, check=True, timeout=550
    )
    faces: Reference = json.loads(output.read_text(encoding="utf-8"))
    return faces


@pytest.fixture(scope="module")
def tallies(reference: Reference) -> dict[tuple[str, str], Tally]:
    """By precision and kind of picture."""
    finders = {precision: MtcnnFaceFinder(MtcnnConfig(precision=precision)) for precision in PRECISIONS}
    by_kind = {(precision, kind): Tally() for precision in PRECISIONS for kind in KINDS}
    for name, rgb in pictures(data_folder()):
        expected = np.array(reference[name]).reshape(-1, 5)[:, :4]
        large = (expected[:, 2:] - expected[:, :2]).max(axis=1, initial=0) >= MtcnnConfig().min_face_px
        for precision, finder in finders.items():
            found = geometry.box_array(face.box for face in finder.find(rgb))
            by_kind[precision, name.split()[0]].add(name, geometry.pairwise_iou(expected, found), large)
    return by_kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_faces_of_the_reference_are_found(tallies: dict[tuple[str, str], Tally], precision: str, kind: str) -> None:
    tally = tallies[precision, kind]
    assert tally.pictures >= (200 if data_folder() else LEAST_SHIPPED[kind])
    assert tally.recall >= LEAST_RECALL, tally.missed
    assert np.median(tally.ious) >= LEAST_MEDIAN_IOU


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_other_faces_are_found(tallies: dict[tuple[str, str], Tally], precision: str, kind: str) -> None:
    assert tallies[precision, kind].extra == []
