"""Cross-validation folds by swap tool: a tool, its copies and the people in its clips share one fold. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.errors import TrainingRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from detector.training.data.datasets import Clip

# Tools with the same network, a copy of it, or its output under another name.
TOOL_FAMILIES: Mapping[str, str] = {
    "roop (inswapper 128)": "inswapper",
    "inswapper 128": "inswapper",
    "ReSwapper": "inswapper",
}


def family_of(tool: str) -> str:
    """Returns the name that a tool shares with its copies; all of them are left out of training together."""
    return TOOL_FAMILIES.get(tool, tool)


def tool_folds(clips: Sequence[Clip], count: int) -> dict[str, int]:
    """Returns the fold, in 0..count - 1, of every group (person) in `clips`.

    Groups that share a tool family share a fold, and so do families that share a group. The largest sets are assigned
    first, each to the fold with the fewest clips.
    """
    dealt: dict[str, int] = {}
    load = [0] * count
    for members in sorted(_connected(clips), key=lambda part: (-len(part), part[0].group)):
        fold = load.index(min(load))
        load[fold] += len(members)
        dealt.update((clip.group, fold) for clip in members)
    return dealt


def refuse_shared_groups(clips: Iterable[Clip], others: Collection[str]) -> None:
    """Raises TrainingRefused if a group of `clips` is in `others`: the group would have two folds."""
    shared = sorted({clip.group for clip in clips} & set(others))
    if shared:
        raise TrainingRefused(f"groups {shared} occur in both tables of pairs; list each person in one table only")


def tool_of_groups(clips: Iterable[Clip]) -> dict[str, str]:
    """Returns the tool family of every group; several are joined by a plus sign."""
    found: dict[str, set[str]] = {}
    for clip in clips:
        found.setdefault(clip.group, set()).add(family_of(clip.tool))
    return {group: "+".join(sorted(families)) for group, families in found.items()}


def _connected(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Returns the clips in sets that share no group and no tool family with each other."""
    parts: list[list[Clip]] = []
    for clip in clips:
        keys = {clip.group, family_of(clip.tool)}
        touching = [part for part in parts if any(keys & {one.group, family_of(one.tool)} for one in part)]
        parts = [part for part in parts if part not in touching]
        parts.append([*(one for part in touching for one in part), clip])
    return parts
