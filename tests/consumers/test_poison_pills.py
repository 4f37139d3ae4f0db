"""Poison pills: a record that was in flight at every crash is rejected."""

from __future__ import annotations

from consumers.broker import PartitionId
from consumers.poison_pills import TRIES, PoisonPills

HERE, THERE = PartitionId("media", 0), PartitionId("media", 1)


def test_only_a_record_in_every_crash_is_a_poison_pill() -> None:
    poison_pills = PoisonPills()
    poison_pills.crashed(HERE, [4, 5, 6])
    poison_pills.clear(HERE, 4)
    for _ in range(TRIES - 1):
        assert not poison_pills.is_poison(HERE, 5)
        poison_pills.crashed(HERE, [5])
    assert [offset for offset in range(8) if poison_pills.is_poison(HERE, offset)] == [5]
    assert [offset for offset in range(8) if poison_pills.is_suspect(HERE, offset)] == [5, 6]
    assert not poison_pills.is_suspect(THERE, 5)


def test_old_suspects_are_forgotten() -> None:
    poison_pills = PoisonPills()
    poison_pills.crashed(HERE, [1])
    poison_pills.crashed(THERE, range(5000))
    assert not poison_pills.is_suspect(HERE, 1)
    assert poison_pills.is_suspect(THERE, 4999)
