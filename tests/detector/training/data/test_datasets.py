from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector.errors import TrainingRefused
from detector.training.data import datasets
from tests.detector.pictures import face_at, gradient
from tests.synthetic import Clip as Video
from tests.synthetic import video

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.types import DetectedFace

HEADER = "path,label,source,group,split,use,licence,width,height\n"
ROWS = (
    "a/one.png,real,set,anna,train,ship,CC0-1.0,300,300\n"
    'a/two.png,real,set,bert,val,research,"MIT (someone, somewhere)",300,300\n'
)


class OneFaceFinder:
    """Fake finder: a face in the middle of any picture that is not black; counts its calls."""

    def __init__(self) -> None:
        self.asked = 0

    def find(self, rgb: NDArray[np.uint8]) -> tuple[DetectedFace, ...]:
        self.asked += 1
        return (face_at(rgb.shape[1] / 4, rgb.shape[0] / 4, rgb.shape[1] / 2),) if rgb.any() else ()


def table(folder: Path, text: str) -> Path:
    path = folder / "stills.csv"
    path.write_text(text)
    return path


def test_rows_of_a_table(tmp_path: Path) -> None:
    one, two = datasets.read_stills(table(tmp_path, HEADER + ROWS))
    assert one == datasets.Still(tmp_path / "a/one.png", "real", "set/anna", "set", "train", "ship", "CC0-1.0")
    assert two.licence == "MIT (someone, somewhere)"


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="licence"):
        datasets.read_stills(table(tmp_path, "path,label,source,group,split,use\n"))


def test_rows_that_may_not_be_shipped_are_refused_unless_this_is_research(tmp_path: Path) -> None:
    stills = datasets.read_stills(table(tmp_path, HEADER + ROWS))
    with pytest.raises(TrainingRefused, match="set"):
        datasets.refuse_unshippable(stills, research=False)
    datasets.refuse_unshippable(stills, research=True)
    datasets.refuse_unshippable(stills[:1], research=False)


def test_plain_folders(tmp_path: Path) -> None:
    for place in ("train/real/a.jpg", "train/fake/b.png", "val/real/deep/er/c.JPG", "val/real/notes.txt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    stills = datasets.read_folders(tmp_path)
    assert [(still.split, still.label, still.path.name) for still in stills] == [
        ("train", "real", "a.jpg"), ("train", "fake", "b.png"), ("val", "real", "c.JPG"),
    ]  # fmt: skip
    assert len({still.group for still in stills}) == 3


def test_excluded_groups_are_dropped(tmp_path: Path) -> None:
    stills = datasets.read_stills(table(tmp_path, HEADER + ROWS))
    for name in ("anna", "set/anna"):
        kept = datasets.drop_groups(stills, {name}, lambda still: still.group)
        assert [still.group for still in kept] == ["set/bert"]


def test_pictures_are_rgb_and_others_refused(tmp_path: Path) -> None:
    rgb = gradient(50, 60)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[:, :, ::-1])
    assert np.array_equal(datasets.read_rgb(tmp_path / "a.png"), rgb)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(TrainingRefused, match=r"b\.png"):
        datasets.read_rgb(tmp_path / "b.png")


def test_faces_are_cached(tmp_path: Path) -> None:
    for name, rgb in (("a.png", gradient(200, 200)), ("black.png", np.zeros((200, 200, 3), np.uint8))):
        cv2.imwrite(str(tmp_path / name), rgb)
    names = ("a.png", "black.png")
    stills = [datasets.Still(tmp_path / name, "real", name, "s", "train", "ship", "") for name in names]
    finder = OneFaceFinder()
    first = datasets.still_faces(stills, datasets.FaceLocator(finder, tmp_path / "faces.json"))
    again = datasets.still_faces(stills, datasets.FaceLocator(finder, tmp_path / "faces.json"))
    assert finder.asked == 2, "the second run reads what the first one found, misses included"
    assert len(first) == len(again) == 1
    assert first[0].face.box == again[0].face.box
    assert np.array_equal(first[0].face.landmarks, again[0].face.landmarks)


def test_halves_of_a_clip_share_the_box(tmp_path: Path) -> None:
    path = tmp_path / "pair.mp4"
    video(path, Video(width=320, height=160, frames=20))
    locator = datasets.FaceLocator(OneFaceFinder(), tmp_path / "faces.json")
    frames = datasets.clip_faces(datasets.Clip(path, "g", "", paired=True), locator, 5)
    assert len(frames) == 5
    for real, fake in frames:
        assert fake is not None
        assert real.rgb.shape == fake.rgb.shape == (160, 160, 3)
        assert real.face is fake.face
        assert not np.array_equal(real.rgb, fake.rgb)
    whole = datasets.clip_faces(datasets.Clip(path, "g", "", paired=False), locator, 5)
    assert [(real.rgb.shape, fake) for real, fake in whole] == [((160, 320, 3), None)] * 5


def test_a_pair_may_come_as_two_files(tmp_path: Path) -> None:
    video(tmp_path / "real.mp4", Video(width=320, height=160, frames=20))
    video(tmp_path / "fake.mp4", Video(width=320, height=160, frames=19))
    table = tmp_path / "video_pairs.csv"
    table.write_text("path,swap_path,group,licence\nreal.mp4,fake.mp4,anna,own\nside.mp4,,bert,own\n")
    two, one = datasets.read_pairs(table)
    assert (two.swap, one.swap) == (tmp_path / "fake.mp4", None)
    frames = datasets.clip_faces(two, datasets.FaceLocator(OneFaceFinder(), tmp_path / "faces.json"), 5)
    assert len(frames) == 4, "the other file ends before the last sampled frame"
    for real, fake in frames:
        assert fake is not None
        assert real.rgb.shape == fake.rgb.shape == (160, 320, 3)
        assert (real.face, real.frame_number) == (fake.face, fake.frame_number)


def test_tool_pairs_are_read_with_tool_and_use(tmp_path: Path) -> None:
    path = tmp_path / "tool_pairs.csv"
    path.write_text(
        "real,fake,tool,kind,group,use,licence\n"
        "a.png,b.png,GHOST,still,anna,pairs,MIT\n"
        "c.mp4,d.mp4,graphics,video,bert,research,none stated\n"
    )
    one, two = datasets.read_tool_pairs(path)
    assert (one.path, one.swap, one.paired) == (tmp_path / "a.png", tmp_path / "b.png", True)
    assert (one.tool, one.group, one.use) == ("GHOST", "anna", datasets.PAIRS)
    assert two.use == "research"
    path.write_text("real,fake,tool,kind,group,licence\n")
    with pytest.raises(TrainingRefused, match="use"):
        datasets.read_tool_pairs(path)


@pytest.mark.parametrize(("real_px", "fake_px"), [(128, 256), (256, 128)])
def test_the_larger_half_of_a_pair_is_scaled_down(tmp_path: Path, real_px: int, fake_px: int) -> None:
    for name, side in (("real", real_px), ("fake", fake_px)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), gradient(side, side)[:, :, ::-1])
    clip = datasets.Clip(tmp_path / "real.png", "g", "", paired=True, swap=tmp_path / "fake.png")
    ((real, fake),) = datasets.clip_faces(clip, datasets.FaceLocator(OneFaceFinder(), tmp_path / "faces.json"), 5)
    assert fake is not None
    assert real.rgb.shape == fake.rgb.shape == (128, 128, 3)
    assert real.face is fake.face
    smaller = real if real_px == 128 else fake
    assert np.array_equal(smaller.rgb, gradient(128, 128)), "only the larger half is scaled"


def test_two_files_of_different_aspect_ratio_are_refused(tmp_path: Path) -> None:
    video(tmp_path / "real.mp4", Video(width=320, height=160, frames=4))
    video(tmp_path / "fake.mp4", Video(width=160, height=160, frames=4))
    clip = datasets.Clip(tmp_path / "real.mp4", "g", "", paired=True, swap=tmp_path / "fake.mp4")
    with pytest.raises(TrainingRefused, match=r"real\.mp4 and fake\.mp4"):
        datasets.clip_faces(clip, datasets.FaceLocator(OneFaceFinder(), tmp_path / "faces.json"), 2)
