"""One stream of a partition, at the moments that a whole consumer seldom meets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from consumers.broker import Place, Record
from consumers.claims import Claims
from consumers.contract import EndOfStream, Stamp, encode
from consumers.desk import Desk
from consumers.outgoing import Outgoing
from consumers.stream_run import Arrival, StreamRun
from stream.events import StreamEnded
from stream.types import EndReason
from tests.consumers.media import EPOCH, frame
from tests.consumers.rig import CONFIG, TOPICS, Ground
from tests.consumers.workers import CLOSING_S, PayloadWorkers
from tests.stream.sinks import until

if TYPE_CHECKING:
    from consumers.contract import Media

HERE = Place(TOPICS.media, 0)


def arrival(item: Media | EndOfStream) -> Arrival:
    return Arrival(Record(HERE, item.stamp.sequence, 0, *encode(item)), item)


async def test_a_record_that_comes_as_the_stream_times_out_is_not_forgotten() -> None:
    ground, claims = Ground(), Claims(CONFIG.claims)
    desk = Desk(CONFIG, PayloadWorkers(), Outgoing(await ground.broker.writer(), 1.0), claims)
    run = StreamRun(HERE, "a", desk, None)
    run.put(arrival(frame("a", 0, 2.0, b"picture")))
    task = asyncio.create_task(run.run())
    try:
        await until(lambda: run.held_records == 0)
        await asyncio.sleep(0.01)
        run.time_out()
        await asyncio.sleep(CLOSING_S / 2)
        run.time_out()      # it is ending already
        run.put(arrival(frame("a", 1, 2.0, b"picture")))
        run.put(arrival(EndOfStream(Stamp("a", EPOCH, 2, EPOCH + 1.0))))
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
        await claims.close()
    ends = [state.reason for state in ground.history("a") if isinstance(state, StreamEnded)]
    assert ends == [EndReason.SILENT, EndReason.END_OF_MEDIA]
    assert run.hold is None
