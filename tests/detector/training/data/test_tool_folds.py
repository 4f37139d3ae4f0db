from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from detector.errors import TrainingRefused
from detector.training.data.datasets import Clip
from detector.training.data.tool_folds import family_of, refuse_shared_groups, tool_folds, tool_of_groups


def clip(tool: str, group: str) -> Clip:
    return Clip(Path(f"{group}.mp4"), group, "own", paired=True, tool=tool)


CLIPS = [
    *(clip("HifiFace", f"h{number}") for number in range(6)),
    clip("roop (inswapper 128)", "roop"), clip("inswapper 128", "r1"), clip("ReSwapper", "r1"), clip("ReSwapper", "r3"),
    clip("GHOST", "g"), clip("GHOST", "g"),
    clip("FaceShifter", "f1"), clip("FaceShifter", "f2"),
]  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 5])
def test_tools_their_copies_and_their_people_are_in_one_fold(count: int) -> None:
    dealt = tool_folds(CLIPS, count)
    assert set(dealt) == {clip.group for clip in CLIPS}
    folds_of: dict[str, set[int]] = {}
    for one in CLIPS:
        folds_of.setdefault(family_of(one.tool), set()).add(dealt[one.group])
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert family_of("roop (inswapper 128)") == family_of("ReSwapper")
    assert len(set(dealt.values())) == min(count, 4), "every fold leaves a tool out while there are enough"


def test_large_tools_are_assigned_first() -> None:
    dealt = tool_folds(CLIPS, 2)
    load = Counter(dealt[clip.group] for clip in CLIPS)
    assert sorted(load.values()) == [6, 8]


def test_two_tools_on_one_person_stay_together() -> None:
    apart = tool_folds([clip("A", "x"), clip("B", "y")], 2)
    assert apart["x"] != apart["y"]
    joined = tool_folds([clip("A", "x"), clip("B", "y"), clip("B", "x")], 2)
    assert joined["x"] == joined["y"]
    assert tool_of_groups([clip("B", "x"), clip("A", "x")]) == {"x": "A+B"}


def test_a_person_in_both_tables_is_refused() -> None:
    refuse_shared_groups(CLIPS, {"stranger"})
    with pytest.raises(TrainingRefused, match="roop"):
        refuse_shared_groups(CLIPS, {"roop"})


def test_without_clips_there_are_no_folds() -> None:
    assert tool_folds([], 3) == {}
