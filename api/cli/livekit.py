"""`deepguard livekit`: scores the participants of a LiveKit room, as a hidden participant."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Annotated

import typer

from api.cli.optional_dependencies import with_extra
from api.cli.terminal import end, key_from_stdin, run_and_leave, say
from api.errors import LiveKitRefused, SettingsRefused
from api.settings.base import Settings, load_settings


def livekit(
    *,
    url: Annotated[str, typer.Option(help="URL of the LiveKit server: wss://HOST.")],
    room: Annotated[str, typer.Option(help="Name of the room.")],
    to: Annotated[str, typer.Option(help="URL of the DeepGuard service that scores the calls.")] = "http://127.0.0.1:5000",
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the API key of the service from the first line of standard input.")
    ] = False,
) -> None:
    """Scores every participant of a LiveKit room. Runs until the room closes or Ctrl-C. Needs the extra `livekit`.

    Joins the room as a hidden participant that publishes nothing. LIVEKIT_API_KEY and LIVEKIT_API_SECRET are the
    credentials of the LiveKit server.
    """
    from consumers.errors import ConsumerError

    try:
        settings = _settings()
    except SettingsRefused as error:
        end(str(error))

    def work() -> None:
        token = key_from_stdin() if key_stdin else None
        _tell(asyncio.run(_moderate(settings, url, room, to, token)))

    run_and_leave(work, ConsumerError, LiveKitRefused)


def _settings() -> Settings:
    """Returns settings that hold both credentials. Raises SettingsRefused."""
    settings = load_settings()
    if not settings.livekit_api_key or not settings.livekit_api_secret.get_secret_value():
        raise SettingsRefused("set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to the credentials of the LiveKit server")
    return settings


async def _moderate(settings: Settings, url: str, room: str, service: str, token: str | None) -> str:
    """Returns why the room is over. Raises SettingsRefused, RoomRefused, LiveKitRefused."""
    secret = settings.livekit_api_secret.get_secret_value()
    bridge, rooms = with_extra("api.clients.livekit_bridge", "livekit"), with_extra("consumers.livekit", "livekit")
    rate_hz = bridge.pictures_per_s(settings.sample_rate_hz)
    logging.getLogger("livekit").setLevel(logging.CRITICAL)     # the SDK logs access tokens
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    order = rooms.RoomConfig(url, room, settings.livekit_api_key, secret, rate_hz)
    reason: str = await rooms.watch_room(order, bridge.RoomPublisher(service, room, token, _tell), _tell, stop)
    return reason


def _tell(line: str) -> None:
    say(line, is_aside=True)
