from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.incident_case import IncidentCase
from stream.incident_replay import derive, differences
from tests.stream.cases import Watched, opened_case, suspect
from tests.stream.observations import TINY, face


def stored(case: IncidentCase) -> IncidentCase:
    """Returns the case as it is read back from storage."""
    return msgspec.json.decode(msgspec.json.encode(case), type=IncidentCase)


def test_the_same_samples_give_the_same_verdict() -> None:
    case = stored(opened_case())
    assert differences(case) == ()


def test_replay_works_long_after_the_start_of_a_stream() -> None:
    case = stored(opened_case(calm=400))
    assert case.base is not None
    assert differences(case) == ()


@settings(max_examples=8)
@given(st.integers(0, 10**6))
@example(192)       # a face is seen without counting for longer than its last counted sample is remembered
def test_replay_works_for_any_earlier_history(seed: int) -> None:
    watched, dice = Watched(), random.Random(seed)
    seen = [(dice.uniform(-4, 4), dice.choice([1, 2, 3]), dice.random() < 0.3) for _ in range(dice.randint(20, 300))]
    for number, (llr, track, tiny) in enumerate(seen):
        watched.see(number, face(track, llr, TINY) if tiny else face(track, llr))
    for number in range(len(seen), len(seen) + 60):
        watched.see(number, suspect(track=9))
    cases = [change for change in watched.changes if isinstance(change, IncidentCase)]
    assert cases
    for case in cases:
        assert differences(stored(case)) == ()


@pytest.mark.parametrize("field", ["llr", "quality"])
def test_a_changed_sample_is_a_difference(field: str) -> None:
    case = opened_case()
    sample = case.samples[-2]
    one = sample.faces[0]
    changed = {"llr": msgspec.structs.replace(one, llr=2.5), "quality": msgspec.structs.replace(one, quality=TINY)}
    samples = (*case.samples[:-2], msgspec.structs.replace(sample, faces=(changed[field],)), case.samples[-1])
    assert any(text.startswith("faces[0].") for text in differences(msgspec.structs.replace(case, samples=samples)))


def test_a_changed_rule_is_a_difference() -> None:
    case = opened_case()
    decision = msgspec.structs.replace(case.rules, decision=type(case.rules.decision)(false_alarms_per_hour=0.02))
    found = differences(msgspec.structs.replace(case, rules=decision))
    assert any(text.startswith("decision.limit: kept ") for text in found)


def test_a_changed_verdict_is_a_difference() -> None:
    case = opened_case()
    verdict = msgspec.structs.replace(case.verdict, prob_fake=0.5)
    (found,) = differences(msgspec.structs.replace(case, verdict=verdict))
    assert found.startswith("prob_fake: kept 0.5, derived 0.99")


def test_too_few_samples_give_no_verdict() -> None:
    case = msgspec.structs.replace(opened_case(), samples=())
    assert derive(case) is None
    assert differences(case) == (f"verdict: kept {case.verdict.id}, derived none for that window",)
