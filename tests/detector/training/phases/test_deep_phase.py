"""Training data of the folds of phase `deep`: none of the people and tools that the fold is evaluated on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detector.training.config import TrainConfig
from detector.training.data.datasets import PAIRS, Clip
from detector.training.data.sample_collection import SampleCollection
from detector.training.data.samples import SAMPLE_ROW, SampleSet
from detector.training.data.tool_folds import family_of
from detector.training.evaluation.loaded_model import FOLDS_FILE
from detector.training.phases.deep_phase import DeepPhase
from detector.training.phases.phase_interface import PhaseInputs

TOOLS = {"h0": "HifiFace", "h1": "HifiFace", "r0": "ReSwapper", "i0": "inswapper 128", "g0": "GHOST"}
FOR_EVALUATION = {"w0": "graphics"}


def samples(groups: list[str]) -> SampleSet:
    """Returns one pair of each group; all pixels of a pair have the index of its group."""
    rows = np.zeros(2 * len(groups), SAMPLE_ROW)
    rows["group"] = np.repeat(groups, 2)
    levels = np.repeat(np.arange(len(groups), dtype=np.uint8), 2)
    rgb = np.broadcast_to(levels[:, None, None, None], (len(rows), 224, 224, 3))
    return SampleSet(rgb, rows, np.zeros((len(rows), 14, 14), np.uint8))


@pytest.fixture
def run(tmp_path: Path) -> DeepPhase:
    use_of = dict.fromkeys(TOOLS, PAIRS) | dict.fromkeys(FOR_EVALUATION, "research")
    clips = tuple(
        Clip(Path(f"{group}.png"), group, "", paired=True, tool=tool, use=use_of[group])
        for group, tool in (TOOLS | FOR_EVALUATION).items()
    )
    collection = SampleCollection(
        train=samples(["photo"]), val=samples(["other"]), clips=samples([f"person-{n}" for n in range(6)]),
        tools=samples(list(TOOLS)), tool_clips=clips, calls=samples([]), licences={},
    )  # fmt: skip
    config = TrainConfig(tmp_path, tmp_path, tmp_path, tmp_path, folds=3)
    return DeepPhase(PhaseInputs(config, collection, {}, {}, lambda what, share: None))


def trained_on(run: DeepPhase, fold: int | None) -> tuple[set[str], set[str]]:
    """Returns the people of the clips and of the other tools that a batch can contain."""
    _, clips, tools = run._parts(fold)
    found = []
    for part, given in ((clips, run.inputs.collection.clips), (tools, run.inputs.collection.tools)):
        drawn = {int(pair) for pair in part._picker.pick(np.random.default_rng(0), 400)}
        found.append({str(given.rows["group"][2 * pair]) for pair in drawn})
    return found[0], found[1]


def test_no_fold_is_trained_on_people_or_tools_that_it_is_evaluated_on(run: DeepPhase) -> None:
    fold_of = run.inputs.deal_folds()
    assert json.loads((run.inputs.config.run_dir / FOLDS_FILE).read_text()) == fold_of
    assert set(fold_of) >= set(TOOLS | FOR_EVALUATION), "pairs for evaluation alone have a fold too"
    evaluated_tools = set()
    for fold in range(3):
        people, tool_people = trained_on(run, fold)
        evaluated = {group for group, own in fold_of.items() if own == fold}
        assert not evaluated & (people | tool_people)
        assert len(people) == 4
        seen = {family_of(TOOLS[group]) for group in tool_people}
        left_out = {family_of(TOOLS[group]) for group in evaluated & set(TOOLS)}
        assert left_out
        assert not seen & left_out
        evaluated_tools |= left_out
    assert evaluated_tools == {family_of(tool) for tool in TOOLS.values()}


def test_the_whole_network_sees_all_but_pairs_for_evaluation(run: DeepPhase) -> None:
    people, tool_people = trained_on(run, None)
    assert len(people) == 6
    assert tool_people == set(TOOLS)


def test_tools_are_drawn_with_equal_probability(run: DeepPhase) -> None:
    *_, tools = run._parts(None)
    drawn = [TOOLS[str(run.inputs.collection.tools.rows["group"][2 * pair])]
             for pair in tools._picker.pick(np.random.default_rng(0), 900)]
    counts = {name: sum(family_of(tool) == name for tool in drawn) for name in {family_of(tool) for tool in drawn}}
    assert min(counts.values()) > 230, counts
