"""Consumer with real workers: media from the in-memory broker to verdicts."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consumers.record_form import RecordForm
from consumers.segmenter import SegmenterOptions
from stream.worker_pool import WorkerPool
from tests.consumers.media import EPOCH, call, clip
from tests.consumers.rig import CONFIG, POOL, Ground, consuming, figures, finished, once
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.events import Verdict

CLIP_S = 8
JPEG_COSTS = 0.3        # tolerance in nats of a window's llr, a sum over eight samples

pytestmark = pytest.mark.slow


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(POOL)
    await pool.start()
    yield pool
    await pool.close()


async def test_two_streams_become_verdicts(pool: WorkerPool) -> None:
    ground = Ground()
    await ground.write(call("a", 20))
    await ground.write(call("b", 20, person="biden"))
    async with consuming(ground, pool):
        await finished(ground)
        await until(lambda: all(state is None for state in ground.states().values()))
    for stream in ("a", "b"):
        verdicts = ground.verdicts(stream)
        assert [v.id for v in verdicts] == [f"{stream}/{EPOCH}/{n}" for n in range(19)]
        assert all(v.coverage == 1 for v in verdicts[1:-1])
        assert {len(v.faces) for v in verdicts} == {1}
        assert verdicts[-1].prob_fake is not None


async def test_a_killed_worker_changes_no_verdict(pool: WorkerPool) -> None:
    """Units in flight are read again, and published windows do not change."""
    calm, ground = Ground(), Ground()
    for each in (calm, ground):
        await each.write(call("a", 60))
        await each.write(call("b", 60, person="biden"))
    async with consuming(calm, pool):
        await finished(calm)
    async with consuming(ground, pool):
        for share in (10, 40, 70):
            await until(lambda share=share: len(ground.verdicts()) >= share)
            os.kill(pool.status.pids[0], signal.SIGKILL)
            await until(lambda: pool.status.ready == 0)
        await finished(ground)
    assert figures(once(ground.verdicts())) == figures(calm.verdicts())
    assert ground.dead_letters() == []


async def test_bad_records_become_dead_letters_and_other_streams_are_unaffected(pool: WorkerPool) -> None:
    ground = Ground()
    frames = list(call("a", 20))
    frames[8] = replace(frames[8], payload=b"\xff\xd8\xffpoison")
    frames[14:17] = [replace(each, payload=b"nothing") for each in frames[14:17]]
    await ground.write(frames[:5])
    await ground.write_raw(b"a", b"\x00", (("ce_specversion", b"1.0"),))
    await ground.write_raw(None, None, ())
    await ground.write(frames[5:])
    await ground.write(call("b", 20, person="biden"))
    async with consuming(ground, pool):
        await finished(ground)
    letters = {letter["error"]: letter for letter in ground.dead_letters()}
    assert letters.keys() == {b"missing_header", b"decode_error"}
    assert [letter["offset"] for letter in ground.dead_letters() if letter["stage"] == b"decode"] == [b"10", b"16"], \
        "of consecutive bad records only the first is kept"
    assert letters[b"decode_error"]["group"] == CONFIG.group.encode()
    hurt, other = ground.verdicts("a"), ground.verdicts("b")
    assert [v.sequence for v in other] == [v.sequence for v in hurt] == list(range(19))
    assert {v.coverage for v in other[1:-1]} == {1.0}
    assert min(v.coverage for v in hurt) < 1
    assert hurt[-1].frames.dropped == {"decode_error": 4}


@pytest.mark.timeout(120)
async def test_a_clip_gives_the_same_verdicts_in_every_record_form(pool: WorkerPool) -> None:
    rows: dict[RecordForm, list[Verdict]] = {}
    for form in RecordForm:
        ground = Ground()
        await ground.write(clip("clip", SegmenterOptions(form), CLIP_S))
        async with consuming(ground, pool):
            await finished(ground)
        assert ground.dead_letters() == []
        rows[form] = ground.verdicts()
    for verdicts in rows.values():
        assert [v.sequence for v in verdicts] == list(range(verdicts[-1].sequence + 1))
        assert verdicts[-1].end_s >= CLIP_S - 1
        assert {v.coverage for v in verdicts[1:-1]} == {1.0}
    assert figures(rows[RecordForm.UNITS]) == figures(rows[RecordForm.SEGMENTS]), "the same frames"
    pairs = list(zip(rows[RecordForm.UNITS], rows[RecordForm.FRAMES], strict=True))
    assert all(len(unit.faces) == len(frame.faces) > 0 for unit, frame in pairs)
    assert max(abs((unit.llr or 0) - (frame.llr or 0)) for unit, frame in pairs) < JPEG_COSTS
