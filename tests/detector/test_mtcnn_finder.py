from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector import geometry
from detector.errors import FinderFailed, WeightsRefused
from detector.mtcnn_finder import WEIGHTS_FOLDER, MtcnnConfig, MtcnnFaceFinder
from detector.mtcnn_openvino import load_weights
from detector.types import FaceBox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

MEDIA = Path(__file__).parents[1] / "media"


@pytest.fixture(scope="module")
def finder() -> MtcnnFaceFinder:
    return MtcnnFaceFinder()


@pytest.fixture(scope="module")
def portrait() -> Picture:
    return read("obama.jpg")


def read(name: str) -> Picture:
    """Reads a portrait, cropped above a lapel pin that these networks nearly take for a face, as does the reference."""
    return cv2.cvtColor(cv2.imread(str(MEDIA / name)), cv2.COLOR_BGR2RGB)[:700]


def fitted(rgb: Picture, height_px: int) -> Picture:
    factor = height_px / rgb.shape[0]
    return cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def on_canvas(width_px: int, height_px: int, *parts: tuple[Picture, int, int]) -> Picture:
    canvas = np.full((height_px, width_px, 3), 90, dtype=np.uint8)
    for rgb, left, top in parts:
        canvas[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    return canvas


@pytest.mark.parametrize("name", ["obama.jpg", "biden.jpg"])
def test_one_portrait_has_one_face_with_ordered_landmarks(finder: MtcnnFaceFinder, name: str) -> None:
    rgb = read(name)
    (face,) = finder.find(rgb)
    assert face.confidence > 0.99
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert geometry.clipped(face.box, rgb.shape[1], rgb.shape[0]) == face.box
    assert np.all(face.landmarks > (face.box.left, face.box.top))
    assert np.all(face.landmarks < (face.box.right, face.box.bottom))


def test_boxes_are_in_pixels_of_the_frame_itself(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    small = on_canvas(640, 360, (fitted(portrait, 300), 200, 30))
    large = cv2.resize(small, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    (expected,), (found,) = finder.find(small), finder.find(large)
    assert geometry.iou(expected.box.scaled(3), found.box) > 0.9
    np.testing.assert_allclose(found.landmarks, 3 * expected.landmarks, atol=0.1 * found.box.width)


def test_the_largest_face_comes_first(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    frame = on_canvas(640, 360, (fitted(portrait, 150), 20, 100), (fitted(read("biden.jpg"), 270), 330, 60))
    first, second = finder.find(frame)
    assert first.box.left > 330 > second.box.right
    assert first.box.area > second.box.area


def test_portrait_frames_are_searched_like_landscape_ones(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    face = fitted(portrait, 280)
    assert len(finder.find(on_canvas(720, 1280, (face, 200, 600)))) == 1
    assert len(finder.find(on_canvas(1280, 720, (face, 600, 200)))) == 1


def test_faces_below_the_minimum_are_not_returned(portrait: Picture) -> None:
    frame = on_canvas(640, 360, (fitted(portrait, 180), 200, 100))
    (face,) = MtcnnFaceFinder().find(frame)
    assert max(face.box.width, face.box.height) > 28
    assert MtcnnFaceFinder(MtcnnConfig(min_face_px=120)).find(frame) == ()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_have_no_faces(finder: MtcnnFaceFinder, level: int) -> None:
    assert finder.find(np.full((360, 640, 3), level, dtype=np.uint8)) == ()


def test_noise_has_no_faces(finder: MtcnnFaceFinder) -> None:
    rng = np.random.default_rng(1)
    assert finder.find(rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)) == ()


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (1, 8192), (8192, 1), (2, 3), (12, 12), (28, 28), (29, 29), (27, 5000), (30, 5000), (5000, 33), (361, 77)],
)
def test_any_frame_size_raises_nothing(finder: MtcnnFaceFinder, height: int, width: int) -> None:
    rng = np.random.default_rng(height * width)
    finder.find(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_face_is_found_in_a_huge_frame(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    frame = on_canvas(8192, 4320, (cv2.resize(portrait, (2400, 2400)), 3000, 1000))
    (face,) = finder.find(frame)
    assert 3000 < face.box.left < face.box.right < 5400


def test_a_frame_filled_by_a_face(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    (face,) = finder.find(portrait)
    box = geometry.clipped(face.box, portrait.shape[1], portrait.shape[0])
    close_up = portrait[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
    assert len(finder.find(cv2.resize(close_up, (300, 360)))) == 1


def test_a_crowd_is_searched_with_bounded_work(portrait: Picture) -> None:
    finder = MtcnnFaceFinder(MtcnnConfig(max_faces=10))
    crowd = np.tile(fitted(portrait, 120), (3, 5, 1))[:360, :640]
    assert 5 <= len(finder.find(np.ascontiguousarray(crowd))) <= 10


def test_frames_need_not_be_contiguous(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    frame = on_canvas(640, 360, (fitted(portrait, 300), 200, 30))
    wide = np.zeros((360, 700, 3), dtype=np.uint8)
    wide[:, :640] = frame
    (expected,), (found,) = finder.find(frame), finder.find(wide[:, :640])
    assert found.box == expected.box


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((360, 640), dtype=np.uint8),
        np.zeros((360, 640, 1), dtype=np.uint8),
        np.zeros((360, 640, 4), dtype=np.uint8),
        np.zeros((360, 640, 3), dtype=np.float32),
        np.zeros((0, 640, 3), dtype=np.uint8),
        np.zeros((360, 0, 3), dtype=np.uint8),
    ],
    ids=["gray", "one channel", "rgba", "float", "no rows", "no columns"],
)
def test_other_arrays_than_rgb_frames_are_refused(finder: MtcnnFaceFinder, frame: Picture) -> None:
    with pytest.raises(FinderFailed, match="expected an RGB uint8"):
        finder.find(frame)


def test_only_the_graphs_of_recent_frame_sizes_are_kept(portrait: Picture) -> None:
    finder = MtcnnFaceFinder(MtcnnConfig(max_frame_sizes=2))
    for width_px in range(300, 380, 16):
        finder.find(cv2.resize(portrait, (width_px, 300)))
    assert finder.cached_sizes == ((348, 300), (364, 300))


def test_detection_does_not_depend_on_earlier_frames(portrait: Picture) -> None:
    frame = on_canvas(640, 360, (fitted(portrait, 300), 200, 30))
    used, fresh = MtcnnFaceFinder(), MtcnnFaceFinder()
    used.find(np.ascontiguousarray(frame[:, ::-1]))
    used.find(np.tile(fitted(portrait, 120), (3, 5, 1))[:360, :640])
    (expected,), (found,) = fresh.find(frame), used.find(frame)
    assert found.box == expected.box
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def test_both_precisions_find_the_same_face(portrait: Picture) -> None:
    (exact,) = MtcnnFaceFinder(MtcnnConfig(precision="f32")).find(portrait)
    (rough,) = MtcnnFaceFinder(MtcnnConfig(precision="bf16")).find(portrait)
    assert geometry.iou(exact.box, rough.box) > 0.9


def copied_weights(folder: Path) -> Path:
    for name in ("mtcnn.npz", "mtcnn.json"):
        shutil.copy(WEIGHTS_FOLDER / name, folder)
    return folder


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    npz = copied_weights(tmp_path) / "mtcnn.npz"
    data = bytearray(npz.read_bytes())
    data[len(data) // 2] ^= 1
    npz.write_bytes(data)
    with pytest.raises(WeightsRefused, match="expected sha256"):
        MtcnnFaceFinder(weights_folder=tmp_path)


@pytest.mark.parametrize("name", ["mtcnn.npz", "mtcnn.json"])
def test_missing_weights_are_refused(tmp_path: Path, name: str) -> None:
    (copied_weights(tmp_path) / name).unlink()
    with pytest.raises(WeightsRefused, match="cannot be read"):
        MtcnnFaceFinder(weights_folder=tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1}', "\x00"])
def test_a_damaged_entry_is_refused(tmp_path: Path, text: str) -> None:
    (copied_weights(tmp_path) / "mtcnn.json").write_text(text)
    with pytest.raises(WeightsRefused):
        load_weights(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "mtcnn.npz", **{"pnet.conv1.kernel": np.zeros((1, 1, 1, 1), dtype=np.float32)})
    digest = hashlib.sha256((tmp_path / "mtcnn.npz").read_bytes()).hexdigest()
    (tmp_path / "mtcnn.json").write_text(json.dumps({"sha256": digest}))
    with pytest.raises(WeightsRefused, match="lacks"):
        MtcnnFaceFinder(weights_folder=tmp_path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "mtcnn.npz", allow_pickle=True, **{"pnet.conv1.kernel": np.array([{}], dtype=object)})
    digest = hashlib.sha256((tmp_path / "mtcnn.npz").read_bytes()).hexdigest()
    (tmp_path / "mtcnn.json").write_text(json.dumps({"sha256": digest}))
    with pytest.raises(WeightsRefused, match="not an array file"):
        MtcnnFaceFinder(weights_folder=tmp_path)


def test_a_face_near_the_given_box_is_followed(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    (face, *_) = finder.find(portrait)
    side_px = face.box.width
    for right_px, down_px in ((0.0, 0.0), (0.15, 0.0), (-0.1, 0.1)):
        (followed,) = finder.follow(portrait, [moved(face.box, right_px * side_px, down_px * side_px)])
        assert followed is not None
        assert geometry.iou(followed.box, face.box) > 0.8
        assert np.abs(followed.landmarks - face.landmarks).max() < 0.1 * side_px


def test_boxes_without_a_face_give_none(finder: MtcnnFaceFinder, portrait: Picture) -> None:
    (face, *_) = finder.find(portrait)
    aside, outside = moved(face.box, 0.9 * face.box.width, 0), moved(face.box, 10_000, 0)
    assert finder.follow(portrait, [outside, face.box, aside])[::2] == (None, None)
    assert finder.follow(portrait, []) == ()


def test_following_on_an_empty_frame_is_refused(finder: MtcnnFaceFinder) -> None:
    with pytest.raises(FinderFailed):
        finder.follow(np.zeros((0, 5, 3), np.uint8), [FaceBox(0, 0, 10, 10)])


def moved(box: FaceBox, right_px: float, down_px: float) -> FaceBox:
    return FaceBox(box.left + right_px, box.top + down_px, box.right + right_px, box.bottom + down_px)
