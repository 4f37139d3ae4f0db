"""A process that takes a stream over keeps its face ids and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from stream.config import StreamConfig
from stream.face_id_handover import HandoverBuffer
from stream.frame_sampler import SamplingGrid
from stream.rolling_verdicts import RollingVerdicts
from tests.stream.observations import face, moment, observation

if TYPE_CHECKING:
    from stream.events import Verdict
    from stream.types import FaceObservation, Observation

PHASE = 0.3
LEFT, MIDDLE, RIGHT = 0.05, 0.4, 0.75
GONE_AT = 20
SAMPLES = 40
WINDOW_SAMPLES = 8


def at(left: float, track: int, llr: float) -> FaceObservation:
    return msgspec.structs.replace(face(track, llr), box=(left, 0.3, 0.2, 0.4))


def party(numbers: dict[float, int]) -> list[Observation]:
    """Returns three faces: one in the middle that leaves, a suspicious one on the right, a cleared one on the left."""
    rows = []
    for n in range(SAMPLES):
        llrs = {LEFT: -1.5 + 0.1 * (n % 3), RIGHT: 1.2 - 0.1 * (n % 2)} | ({MIDDLE: 0.3} if n < GONE_AT else {})
        rows.append(observation(n, tuple(at(left, numbers[left], llr) for left, llr in llrs.items())))
    return rows


def verdicts(monitor: RollingVerdicts, observations: list[Observation]) -> list[Verdict]:
    return [verdict for seen in observations for verdict in monitor.observe(seen, moment())]


def verdicts_after(last: Verdict, observations: list[Observation]) -> list[Verdict]:
    """Returns the verdicts of a process that continues after another one's last verdict, to the end."""
    monitor, handover = new_monitor(), HandoverBuffer(last, SamplingGrid(StreamConfig().windows.sample_rate_hz, PHASE))
    monitor.restore(last)
    known = [k for seen in observations for k in handover.take(seen)]
    return verdicts(monitor, [*known, *handover.release()])


def new_monitor() -> RollingVerdicts:
    return RollingVerdicts("call", 7, PHASE, StreamConfig())


@pytest.mark.parametrize("taken_over_at", [3, 10, 19, 21, 30])
def test_the_second_process_gives_the_verdicts_that_the_first_would_have_given(taken_over_at: int) -> None:
    whole = verdicts(new_monitor(), party({MIDDLE: 0, LEFT: 1, RIGHT: 2}))
    last = whole[taken_over_at]
    first_needed = max(0, taken_over_at + 1 - WINDOW_SAMPLES)
    others = party({LEFT: 1, RIGHT: 0, MIDDLE: 2})      # the new process numbers faces anew
    assert verdicts_after(last, others[first_needed:]) == whole[taken_over_at + 1 :]


def test_a_new_face_gets_an_unused_id() -> None:
    whole = verdicts(new_monitor(), party({MIDDLE: 0, LEFT: 1, RIGHT: 2}))
    newcomer = [observation(n, (at(LEFT, 0, -1.0), at(0.5, 1, 1.0))) for n in range(11, 13)]
    replayed = party({LEFT: 0, RIGHT: 3, MIDDLE: 2})[3:11]
    verdict = verdicts_after(whole[9], [*replayed, *newcomer])[-1]
    assert {f.track: f.box[0] for f in verdict.faces} == {0: MIDDLE, 1: LEFT, 2: RIGHT, 3: 0.5}


def test_published_verdicts_are_not_repeated_even_at_the_end() -> None:
    whole = verdicts(new_monitor(), party({MIDDLE: 0, LEFT: 1, RIGHT: 2}))
    grid = SamplingGrid(StreamConfig().windows.sample_rate_hz, PHASE)
    monitor, handover = new_monitor(), HandoverBuffer(whole[9], grid)
    monitor.restore(whole[9])
    for seen in party({LEFT: 5, RIGHT: 6, MIDDLE: 7})[2:10]:
        assert handover.take(seen) == ()
    assert verdicts(monitor, list(handover.release())) == []
    assert monitor.finish(moment()) == ()
