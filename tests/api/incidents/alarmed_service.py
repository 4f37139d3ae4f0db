"""The whole service in a process of its own, with one stream whose observations are made up until it alarms.

Says the alarm's verdict id on stdout at the moment when a watcher hears of it. To be killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from api.app import running_context
from api.asgi_server import make_server
from api.http.listener import listening_socket
from api.settings.base import Settings, load_settings
from api.settings.factories import running_service
from stream.event_bus import EventBus, Selection
from stream.events import Verdict
from stream.identity import StreamIdentity
from stream.stream_session import StreamSpec
from stream.types import Codec
from tests.api.calls import Peer
from tests.stream.cases import pictures_of, suspect
from tests.stream.observations import observation

if TYPE_CHECKING:
    from stream.stream_service import StreamService

STREAM = "alarming"
SAMPLES = 200


async def main(settings: Settings) -> None:
    bus = EventBus()
    with listening_socket(settings.host, settings.port) as listener:
        async with running_service(settings, bus) as service, running_context(settings, bus, service) as context:
            server = make_server(context)
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]))
                group.create_task(watch(bus))
                await server.ready.wait()
                await alarm(service)


async def watch(bus: EventBus) -> None:
    subscription = bus.subscribe(Selection())
    while True:
        event = (await subscription.next()).event
        if isinstance(event, Verdict) and event.alarm:
            sys.stdout.write(event.id + "\n")
            sys.stdout.flush()


async def alarm(service: StreamService) -> None:
    """As fast as it goes."""
    while not service.status.ready:
        await asyncio.sleep(0.05)
    session = service.open(StreamSpec(identity=StreamIdentity(STREAM, "c"), source="test", codec=Codec.JPEG), Peer())
    for number in range(-1, SAMPLES):
        seen = msgspec.structs.replace(
            observation(number, (suspect(3.2),)), stream=STREAM, epoch=session.epoch, capture_s=time.time()
        )
        session.observed(msgspec.structs.replace(seen, pictures=pictures_of(seen)) if number % 5 == 0 else seen)
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(load_settings()))
