"""Publishes with libwebrtc into a Janus room that forwards plain RTP, as an SFU's operator sets it up.

    python -m tests.e2e.peers.janus_publisher JANUS_URL ROOM FILE RTP_PORT        until SIGTERM

Forwarding begins long after the first key frame, and the room requests none. So the next key frame comes only if the
RTP receiver requests it through Janus.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx
from webrtc.aiortc import RTCSessionDescription

from tests.e2e.peers.libwebrtc_publisher import offering, stopped_by_sigterm

LATE_S = 3.0
KEEP_ALIVE_S = 20.0


class Handle:
    """A handle of Janus' videoroom, by its HTTP face."""

    def __init__(self, client: httpx.AsyncClient, session: str, path: str) -> None:
        self._client = client
        self._session = session
        self._path = path

    async def ask(self, body: dict[str, Any], jsep: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the plugin, which may come as an event."""
        message = {"janus": "message", "transaction": "t", "body": body, **({"jsep": jsep} if jsep else {})}
        answer = (await self._client.post(self._path, json=message)).json()
        while answer["janus"] != "success" and "plugindata" not in answer:
            answer = (await self._client.get(self._session)).json()
        data = answer["plugindata"]["data"]
        assert "error" not in data, data
        return {**data, "jsep": answer.get("jsep")}


async def attach(client: httpx.AsyncClient, url: str) -> tuple[str, Handle]:
    """A session, and a handle in it."""
    made = (await client.post(url, json={"janus": "create", "transaction": "t"})).json()
    session = f"{url}/{made['data']['id']}"
    order = {"janus": "attach", "plugin": "janus.plugin.videoroom", "transaction": "t"}
    attached = (await client.post(session, json=order)).json()
    return session, Handle(client, session, f"{session}/{attached['data']['id']}")


async def publish(url: str, room: int, source: str, rtp_port: int, stop: asyncio.Event) -> None:
    connection = await offering(source)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        session, handle = await attach(client, url)
        joined = await handle.ask({"request": "join", "ptype": "publisher", "room": room, "display": "ann"})
        offer = {"type": "offer", "sdp": connection.localDescription.sdp}
        answer = await handle.ask({"request": "configure", "audio": False, "video": True}, offer)
        await connection.setRemoteDescription(RTCSessionDescription(answer["jsep"]["sdp"], "answer"))
        await asyncio.sleep(LATE_S)
        sys.stdout.write(f"{time.time()}\n")        # when the forward began
        sys.stdout.flush()
        await handle.ask({
            "request": "rtp_forward", "room": room, "publisher_id": joined["id"], "host": "127.0.0.1",
            "streams": [{"mid": "0", "host": "127.0.0.1", "port": rtp_port, "rtcp_port": rtp_port, "pt": 96}],
        })
        while not stop.is_set():
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await stop.wait()
            except TimeoutError:
                await client.post(session, json={"janus": "keepalive", "transaction": "t"})
        await client.post(session, json={"janus": "destroy", "transaction": "t"})
    await connection.close()


async def main() -> None:
    url, room, source, port = sys.argv[1:5]
    await publish(url, int(room), source, int(port), stopped_by_sigterm())


if __name__ == "__main__":
    asyncio.run(main())
