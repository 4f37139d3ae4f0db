"""Alarms in consumers: stored before their verdict is written, and identical after a takeover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.incident_case import AlarmOver, IncidentCase
from stream.incident_replay import differences
from stream.types import CloseReason
from tests.consumers.rig import Ground, consuming, finished, once
from tests.consumers.test_flow import whole
from tests.consumers.workers import PayloadWorkers

if TYPE_CHECKING:
    from stream.incident_case import AlarmChange

FRAMES = 120


class Kept:
    """An alarm sink that records each change and the number of verdicts written before it."""

    def __init__(self, ground: Ground) -> None:
        self.changes: list[AlarmChange] = []
        self.verdicts_before: list[list[str]] = []
        self._ground = ground

    async def keep(self, change: AlarmChange) -> None:
        self.changes.append(change)
        self.verdicts_before.append([verdict.id for verdict in self._ground.verdicts()])


async def judged(ground: Ground) -> Kept:
    kept = Kept(ground)
    await ground.write(whole("a", FRAMES))
    async with consuming(ground, PayloadWorkers(), alarms=kept):
        await finished(ground)
    return kept


async def test_an_alarm_is_stored_before_its_verdict_is_written() -> None:
    ground = Ground()
    kept = await judged(ground)
    opened, over = kept.changes
    assert isinstance(opened, IncidentCase)
    assert isinstance(over, AlarmOver)
    assert opened.verdict.id not in kept.verdicts_before[0]
    assert opened.verdict.id in [verdict.id for verdict in ground.verdicts()]
    assert opened.verdict == next(verdict for verdict in once(ground.verdicts()) if verdict.alarm)
    assert over.reason is CloseReason.STREAM_ENDED
    assert differences(opened) == ()


async def test_the_same_media_gives_the_same_incident() -> None:
    (first, _), (second, _) = (await judged(Ground())).changes, (await judged(Ground())).changes
    assert isinstance(first, IncidentCase)
    assert isinstance(second, IncidentCase)
    assert first.id == second.id
