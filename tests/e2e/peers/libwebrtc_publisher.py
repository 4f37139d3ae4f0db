"""Chrome's engine without Chrome: libwebrtc (the package wrtc) as a WHIP publisher of VP8.

    python -m tests.e2e.peers.libwebrtc_publisher URL FILE

Until SIGTERM; the key is the first line of standard input.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from fractions import Fraction
from itertools import count
from urllib.parse import urljoin

import av
import httpx
import webrtc
from webrtc.aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

RATE_HZ = 30


class FileTrack(MediaStreamTrack):
    """A file's pictures at 30/s, over and over."""

    kind = "video"

    def __init__(self, source: str) -> None:
        super().__init__()
        with av.open(source) as clip:
            self._pictures = list(clip.decode(video=0))
        self._numbers = count()
        self._start_s = time.monotonic()

    async def recv(self) -> av.VideoFrame:
        number = next(self._numbers)
        await asyncio.sleep(max(0.0, self._start_s + number / RATE_HZ - time.monotonic()))
        picture = self._pictures[number % len(self._pictures)]
        frame = av.VideoFrame.from_ndarray(picture.to_ndarray(format="yuv420p"), format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE_HZ)
        return frame


async def offering(source: str) -> RTCPeerConnection:
    """A connection that offers the file as VP8, on loopback, too."""
    webrtc.allow_loopback()
    connection = RTCPeerConnection()
    transceiver = connection.addTransceiver(FileTrack(source), direction="sendonly")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType in ("video/VP8", "video/rtx")])
    await connection.setLocalDescription(await connection.createOffer())
    return connection


async def publish(url: str, source: str, key: str, stop: asyncio.Event) -> None:
    connection = await offering(source)
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=20) as client:
        while (answer := await client.post(url, content=connection.localDescription.sdp)).status_code == 503:
            await asyncio.sleep(int(answer.headers["retry-after"]))
        answer.raise_for_status()
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        await stop.wait()
        await client.delete(urljoin(url, answer.headers["location"]))
    await connection.close()


async def main() -> None:
    key = (await asyncio.to_thread(sys.stdin.readline)).strip()
    await publish(sys.argv[1], sys.argv[2], key, stopped_by_sigterm())


def stopped_by_sigterm() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


if __name__ == "__main__":
    asyncio.run(main())
