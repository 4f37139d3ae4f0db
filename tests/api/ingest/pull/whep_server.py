"""A small WHEP endpoint on aiortc that sends the sample call: a fake at the protocol, whose refusals can be chosen."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiortc import RTCPeerConnection, RTCSessionDescription
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from api.clients.whip import ClipTrack, load_clip
from api.ingest.aiortc_patches import Network, listening_on, new_connection
from tests.api.ingest.pull.support import SAMPLE, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

TOKEN = "a token of the SFU"


@dataclass
class Sfu:
    """`refuse` are the statuses of the next POSTs; `change` alters the answer. `asked` are methods and tokens.

    With `closes_at_once` a session is closed as soon as it is connected.
    """

    url: str = ""
    refuse: list[int] = field(default_factory=list)
    change: Callable[[str], str] = str
    closes_at_once: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    sessions: list[RTCPeerConnection] = field(default_factory=list)

    async def post(self, request: Request) -> Response:
        self.asked.append(("POST", request.headers.get("authorization", "")))
        if self.refuse:
            return Response(status_code=self.refuse.pop(0))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        connection = new_connection()
        self.sessions.append(connection)
        if self.closes_at_once:
            connection.addTransceiver("video", direction="sendonly")

            async def close_when_connected() -> None:
                if connection.connectionState == "connected":
                    await connection.close()

            connection.on("connectionstatechange", close_when_connected)
        else:
            connection.addTrack(ClipTrack(load_clip(SAMPLE)))
        connection.getTransceivers()[0].setCodecPreferences(_h264(connection))
        with listening_on(Network(loopback=True)):
            await connection.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
            await connection.setLocalDescription(await connection.createAnswer())
        answer = self.change(connection.localDescription.sdp)
        location = {"Location": f"/session/{len(self.sessions)}"}
        return Response(answer, 201, location, media_type="application/sdp")

    async def delete(self, request: Request) -> Response:
        self.asked.append(("DELETE", request.headers.get("authorization", "")))
        await self.sessions[-1].close()
        return Response(status_code=200)


def _h264(connection: RTCPeerConnection) -> list[object]:
    codecs = connection.getTransceivers()[0].sender.getCapabilities("video").codecs
    return [codec for codec in codecs if codec.mimeType in ("video/H264", "video/rtx")]


@asynccontextmanager
async def sfu() -> AsyncIterator[Sfu]:
    found = Sfu()
    routes = [
        Route("/whep/cam", found.post, methods=["POST"]), Route("/session/{id}", found.delete, methods=["DELETE"]),
    ]
    async with serving(Starlette(routes=routes)) as url:
        found.url = f"{url}/whep/cam"
        try:
            yield found
        finally:
            while found.sessions:
                await found.sessions.pop().close()
