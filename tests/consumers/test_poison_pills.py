"""Who was there at every crash is the culprit."""

from __future__ import annotations

from consumers.broker import PartitionId
from consumers.poison_pills import TRIES, PoisonPills

HERE, THERE = PartitionId("media", 0), PartitionId("media", 1)


def test_only_the_record_that_was_there_each_time_is_condemned() -> None:
    suspects = PoisonPills()
    suspects.crashed(HERE, [4, 5, 6])
    suspects.clear(HERE, 4)
    for _ in range(TRIES - 1):
        assert not suspects.is_condemned(HERE, 5)
        suspects.crashed(HERE, [5])
    assert [offset for offset in range(8) if suspects.is_condemned(HERE, offset)] == [5]
    assert [offset for offset in range(8) if suspects.is_suspect(HERE, offset)] == [5, 6]
    assert not suspects.is_suspect(THERE, 5)


def test_old_suspicions_are_forgotten() -> None:
    suspects = PoisonPills()
    suspects.crashed(HERE, [1])
    suspects.crashed(THERE, range(5000))
    assert not suspects.is_suspect(HERE, 1)
    assert suspects.is_suspect(THERE, 4999)
