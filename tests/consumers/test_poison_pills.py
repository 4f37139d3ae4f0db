"""Who was there at every crash is the culprit."""

from __future__ import annotations

from consumers.broker import PartitionId
from consumers.poison_pills import TRIES, PoisonPills

HERE, THERE = PartitionId("media", 0), PartitionId("media", 1)


def test_only_the_record_that_was_there_each_time_is_condemned() -> None:
    poison_pills = PoisonPills()
    poison_pills.crashed(HERE, [4, 5, 6])
    poison_pills.clear(HERE, 4)
    for _ in range(TRIES - 1):
        assert not poison_pills.is_poison(HERE, 5)
        poison_pills.crashed(HERE, [5])
    assert [offset for offset in range(8) if poison_pills.is_poison(HERE, offset)] == [5]
    assert [offset for offset in range(8) if poison_pills.is_suspect(HERE, offset)] == [5, 6]
    assert not poison_pills.is_suspect(THERE, 5)


def test_old_suspicions_are_forgotten() -> None:
    poison_pills = PoisonPills()
    poison_pills.crashed(HERE, [1])
    poison_pills.crashed(THERE, range(5000))
    assert not poison_pills.is_suspect(HERE, 1)
    assert poison_pills.is_suspect(THERE, 4999)
