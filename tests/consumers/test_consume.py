"""Media from a broker in memory through real workers to verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream.pool import WorkerPool
from tests.consumers.media import EPOCH, call
from tests.consumers.rig import POOL, Ground, consuming, finished
from tests.stream.sinks import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
