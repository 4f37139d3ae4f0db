"""`deepguard livekit`: a hidden participant of a LiveKit room, whose eyes are a running service."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Annotated

import typer

from api.cli.optional_dependencies import with_extra
from api.errors import LiveKitRefused, SettingsRefused
from api.settings.base import Settings, load_settings


def livekit(
    url: Annotated[str, typer.Option(help="of the LiveKit server: wss://…")],
    room: Annotated[str, typer.Option(help="name of the room")],
    to: Annotated[str, typer.Option(help="the service that judges")] = "http://127.0.0.1:5000",
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="read that service's key from standard input")] = False,
) -> None:
    """Have everybody in a LiveKit room judged, until the room is over or Ctrl-C. Needs the extra `livekit`.

    Joins hidden and only looks. LIVEKIT_API_KEY and LIVEKIT_API_SECRET are those of the LiveKit server.
    """
    from api.cli.terminal import end, run_and_leave
    from consumers.errors import ConsumerError

    try:
        settings = _settings()
    except SettingsRefused as error:
        end(str(error))

    def work() -> None:
        token = sys.stdin.readline().strip() if key_stdin else None
        _tell(asyncio.run(_moderate(settings, url, room, to, token)))

    run_and_leave(work, ConsumerError, LiveKitRefused)


def _settings() -> Settings:
    """With both credentials. Raises SettingsRefused."""
    settings = load_settings()
    if not settings.livekit_api_key or not settings.livekit_api_secret.get_secret_value():
        raise SettingsRefused("LIVEKIT_API_KEY and LIVEKIT_API_SECRET have to be set")
    return settings


async def _moderate(settings: Settings, url: str, room: str, service: str, token: str | None) -> str:
    """Why it is over. Raises SettingsRefused, RoomRefused, LiveKitRefused."""
    secret = settings.livekit_api_secret.get_secret_value()
    calls, rooms = with_extra("api.clients.livekit_bridge", "livekit"), with_extra("consumers.livekit", "livekit")
    rate_hz = calls.pictures_per_s(settings.sample_rate_hz)
    logging.getLogger("livekit").setLevel(logging.CRITICAL)     # its engine's log has tokens; what it means, we tell
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    order = rooms.RoomOrder(url, room, settings.livekit_api_key, secret, rate_hz)
    reason: str = await rooms.watch_room(order, calls.Calls(service, room, token, _tell), _tell, stop)
    return reason


def _tell(line: str) -> None:
    typer.echo(line, err=True)
    sys.stderr.flush()
