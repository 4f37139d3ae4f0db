"""A publisher that encodes as it goes, as browsers do. It makes key frames on request, and its network can be bad."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import av
import httpx
import numpy as np
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, RtpPacket, is_rtcp, unpack_remb_fci

from api.ingest.aiortc_patches import loopback_candidates, new_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

RATE_HZ = 30


class MovingPicture(MediaStreamTrack):
    """A grey picture with a square that moves, 30 frames/s. `noise` (0 to 128) makes it cost bits."""

    kind = "video"

    def __init__(self, width_px: int = 160, height_px: int = 120, noise: int = 0) -> None:
        super().__init__()
        self._size = (height_px, width_px)
        dice = np.random.default_rng(1)
        self._grain = dice.integers(0, noise + 1, (16 if noise else 1, *self._size, 1), np.uint8)
        self._start_s = time.monotonic()
        self.number = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(max(0.0, self._start_s + self.number / RATE_HZ - time.monotonic()))
        picture = np.full((*self._size, 3), 90, np.uint8) + self._grain[self.number % len(self._grain)]
        at = 2 * self.number % (self._size[1] - 20)
        picture[40:60, at : at + 20] = (200, 120, 40)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self.number, Fraction(1, RATE_HZ)
        self.number += 1
        return frame


class Publisher:
    """A connection to a WHIP endpoint. `lose` says of every RTP packet whether the network loses it; `through`
    gets the answer and gives what is made of it."""

    def __init__(
        self, url: str, *, mime_type: str = "video/VP8", audio: bool = False, token: str = "",
        through: Callable[[str], Awaitable[str]] | None = None, track: MovingPicture | None = None,
    ) -> None:
        self.url = url
        self._through = through
        self.connection: RTCPeerConnection = new_connection()
        self.session = ""
        self.track = track or MovingPicture()
        self.lose: Callable[[RtpPacket], bool] = lambda _: False
        self._headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {token}"} if token else {})
        if audio:
            self.connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
        transceiver = self.connection.addTransceiver(self.track, direction="sendonly")
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in capabilities if c.mimeType in (mime_type, "video/rtx")])
        self.sender = transceiver.sender

    async def offer(self) -> str:
        with loopback_candidates(True):
            await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def publish(self, *, patient: bool = False) -> None:
        """Offers, and starts to send; returns when the answer is there. Who is patient comes again if there is no
        room."""
        offer = await self.offer()
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            while (answer := await client.post(self.url, content=offer, headers=self._headers)).status_code == 503:
                assert patient, answer.text
                await asyncio.sleep(int(answer.headers["retry-after"]))
        assert answer.status_code == 201, answer.text
        self.session = urljoin(self.url, answer.headers["location"])
        self._install_loss()
        text = answer.text if self._through is None else await self._through(answer.text)
        await self.connection.setRemoteDescription(RTCSessionDescription(text, "answer"))

    async def delete(self) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            return await client.delete(self.session, headers=self._headers)

    async def allowed_bps(self, timeout_s: float = 30.0) -> int:
        """The bitrate of the first REMB that the server sends."""
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        handle = self.sender._handle_rtcp_packet

        async def listen(packet: object) -> None:
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP and not told.done():
                told.set_result(unpack_remb_fci(packet.fci)[0])
            await handle(packet)

        self.sender._handle_rtcp_packet = listen
        return await asyncio.wait_for(told, timeout_s)

    def _install_loss(self) -> None:
        """Packets are lost behind the sender's history, so that it can send them again."""
        transport = self.sender.transport
        send = transport._send_rtp

        async def send_or_lose(data: bytes) -> None:
            if is_rtcp(data) or not self.lose(RtpPacket.parse(data)):
                await send(data)

        transport._send_rtp = send_or_lose


@asynccontextmanager
async def publishing(url: str, **kinds: object) -> AsyncIterator[Publisher]:
    """Yields a publisher; closes it at the end without a DELETE."""
    publisher = Publisher(url, **kinds)     # type: ignore[arg-type]
    try:
        await publisher.publish()
        yield publisher
    finally:
        await publisher.connection.close()
