from __future__ import annotations

import numpy as np
import pytest

from detector.training.evaluation import estimates
from detector.training.evaluation.group_offsets import FACE_ROW, MAX_OFFSET, offsets
from detector.training.evaluation.group_tables import group_tables

RNG = np.random.default_rng(3)


def faces(counts: dict[str, int], shift: dict[str, float]) -> np.ndarray:
    """Returns one face per person, of one source; logits have standard deviation 1 around the shift of the tone."""
    tones = np.repeat(list(counts), list(counts.values()))
    made = np.zeros(len(tones), FACE_ROW)
    made["tone"], made["source"], made["condition"] = tones, "set", "as it came"
    made["person"] = np.arange(len(tones)).astype(str)
    made["logit"] = RNG.normal(0, 1, len(tones)) + [shift[tone] for tone in tones]
    return made


def test_the_offset_of_a_shifted_group_is_in_standard_deviations_within_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "BOOTSTRAPS", 100)
    found = {item.name: item for item in offsets(faces({"dark": 200, "light": 400}, {"dark": 1.0, "light": 0.0}))}
    assert found["dark"].offset.value == pytest.approx(1.0, abs=0.2)
    assert found["light"].offset.value == pytest.approx(-found["dark"].offset.value)
    assert found["dark"].offset.low > MAX_OFFSET
    assert (found["dark"].faces, found["dark"].people) == (200, 200)
    assert found["dark"].false_alarms > 0.08 > 0.05 > found["light"].false_alarms
    overall = (200 * found["dark"].false_alarms + 400 * found["light"].false_alarms) / 600
    assert overall == pytest.approx(0.05, abs=0.01)
    assert "set" not in found, "one source has nothing to be compared with"


def test_small_groups_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "BOOTSTRAPS", 20)
    found = offsets(faces({"dark": 9, "light": 50, "tan": 20}, {"dark": 0.0, "light": 0.0, "tan": 0.0}))
    assert {item.name for item in found} == {"light", "tan"}


def test_the_table_names_skin_tones_with_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import asdict

    monkeypatch.setattr(estimates, "BOOTSTRAPS", 20)
    apart, alike = (
        {"as it came": [asdict(item) for item in offsets(faces({"dark": 300, "light": 300}, shift))]}
        for shift in ({"dark": 1.0, "light": 0.0}, {"dark": 0.0, "light": 0.0})
    )
    assert "Defect: these skin tones have offsets above 0.3: dark (as it came)" in "\n".join(
        group_tables(apart)
    )
    assert "All skin tones have offsets of at most 0.3" in "\n".join(group_tables(alike))
    assert group_tables({}) == []
