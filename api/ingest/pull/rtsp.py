"""RTSP client: RTP and RTCP interleaved in one TCP connection, depacketised like the media of WHIP."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiortc.rtp import RtpPacket

from api.ingest.pull.errors import PullFailed, PullRefused, bad_redirect, failed_status
from api.ingest.pull.rtsp_messages import (
    MAX_HEAD_BYTES,
    OfferedVideo,
    RtspLogin,
    RtspResponse,
    best_challenge,
    offered_video,
    read_head,
)
from api.ingest.rtp_packets import BROKEN, fragment_of, picture_loss, says_goodbye
from stream.sources.rtp_video import VideoTrack, nal_units
from stream.types import Codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.ingest.pull.dialer import Dialer
    from api.ingest.pull.puller import FrameSink
    from api.ingest.pull.url_policy import MediaUrl
    from stream.display_transform import DisplayTransform
    from stream.temporal_layers import Layer

_MAX_REDIRECTS = 3
_REDIRECTS = frozenset((301, 302, 303, 305, 307, 308))
_INTERLEAVED = b"$"
_SPS = 7
_DEFAULT_TIMEOUT_S = 60
_ANSWER_S = 10.0


class RtspAttempt:
    """One connection to a camera or server. Implements `Attempt` of `api.ingest.pull.puller`."""

    def __init__(self, location: MediaUrl, dialer: Dialer) -> None:
        self._location = location
        self._dialer = dialer
        self._playback: _Playback | None = None

    def request_keyframe(self) -> None:
        if self._playback is not None:
            self._playback.request_keyframe()

    async def run(self, frames: FrameSink) -> None:
        location = self._location
        for _ in range(_MAX_REDIRECTS + 1):
            connection = _Connection(location, *await self._dialer.connect(location))
            try:
                described = await _describe(connection)
                if isinstance(described, OfferedVideo):
                    self._playback = _Playback(connection, described, frames)
                    await self._playback.run()
                    return
            finally:
                self._playback = None
                connection.close()
            login = (location.user, location.password)
            target = self._redirected(described)
            is_same = target[:3] == location[:3]
            location = target._replace(user=login[0], password=login[1]) if is_same else target
        raise PullFailed("too_many_redirects", f"more than {_MAX_REDIRECTS} redirects", is_final=True)

    def _redirected(self, url: str) -> MediaUrl:
        """Parses and checks the target of a redirect. Raises PullRefused."""
        try:
            return self._dialer.policy.check(url, ("rtsp", "rtsps"))
        except PullRefused as refused:
            raise (bad_redirect() if refused.code == "bad_url" or "://" not in url else refused) from None


async def _describe(connection: _Connection) -> OfferedVideo | str:
    """Asks for the description; returns its video, or the URL of a redirect. Raises PullFailed."""
    url = connection.location.url
    answer = await connection.ask("DESCRIBE", url, {"Accept": "application/sdp"})
    if answer.status in _REDIRECTS:
        return answer.headers.get("location", "")
    _require(answer)
    base = answer.headers.get("content-base") or answer.headers.get("content-location") or url
    return offered_video(answer.body.decode("utf-8", "replace").replace("\r\n", "\n"), base)


class _Connection:
    """Requests, answers and interleaved packets of one TCP connection."""

    def __init__(self, location: MediaUrl, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.location = location
        self.session = ""       # sent with every request once the source has named it
        self._reader = reader
        self._writer = writer
        self._login: RtspLogin | None = None
        self._number = 0

    async def ask(self, method: str, url: str, headers: dict[str, str]) -> RtspResponse:
        """Returns the answer to a request; logs in if the source asks for it. Raises PullFailed."""
        answer = await self._exchange(method, url, headers)
        if answer.status == 401 and self._login is None and self.location.user:
            challenge = best_challenge(answer.challenges)
            if challenge is not None:
                self._login = RtspLogin(self.location.user, self.location.password, challenge)
                answer = await self._exchange(method, url, headers)
        return answer

    def request(self, method: str, url: str, headers: dict[str, str]) -> None:
        """Sends a request without waiting for its answer."""
        if self._writer.is_closing():
            return
        self._number += 1
        every = {"CSeq": str(self._number), "User-Agent": "deepguard"}
        if self.session:
            every["Session"] = self.session
        every |= headers
        if self._login is not None:
            every["Authorization"] = self._login.header(method, url)
        head = "".join(f"{name}: {value}\r\n" for name, value in every.items())
        self._writer.write(f"{method} {url} RTSP/1.0\r\n{head}\r\n".encode("latin-1", "replace"))

    def send_packet(self, channel: int, packet: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(_INTERLEAVED + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet)

    async def next_packet(self) -> tuple[int, bytes] | None:
        """Returns the next packet with its channel; None for anything else. Raises PullFailed."""
        received = await self._next()
        return None if isinstance(received, RtspResponse) else received

    def close(self) -> None:
        self._writer.close()

    async def _exchange(self, method: str, url: str, headers: dict[str, str]) -> RtspResponse:
        self.request(method, url, headers)
        try:
            async with asyncio.timeout(_ANSWER_S):
                while not isinstance(answer := await self._next(), RtspResponse) or not answer.status:
                    pass
        except TimeoutError:
            raise PullFailed("timeout", f"{self.location.authority} does not answer {method}") from None
        return answer

    async def _next(self) -> RtspResponse | tuple[int, bytes]:
        """Reads the next answer, or the next packet with its channel. Raises PullFailed."""
        try:
            first = await self._reader.readexactly(1)
            return await self._packet() if first == _INTERLEAVED else await self._answer(first)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise PullFailed("connection_lost", f"{self.location.authority} closed the connection") from None

    async def _packet(self) -> tuple[int, bytes]:
        head = await self._reader.readexactly(3)
        return head[0], await self._reader.readexactly(int.from_bytes(head[1:], "big"))

    async def _answer(self, first: bytes) -> RtspResponse:
        try:
            head = first + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise PullFailed("protocol_error", "the source does not speak RTSP") from None
        if len(head) > MAX_HEAD_BYTES:
            raise PullFailed("protocol_error", "the source's answer is too long")
        answer = read_head(head.removesuffix(b"\r\n\r\n"))
        return answer._replace(body=await self._reader.readexactly(answer.length))


class _Playback:
    """The described video of one connection, played until the source ends it. The `TrackOutput` of its track."""

    def __init__(self, connection: _Connection, video: OfferedVideo, frames: FrameSink) -> None:
        self._connection = connection
        self._video = video
        self._frames = frames
        self._track = VideoTrack(video.codec, self)
        self._media, self._control = 0, 1       # channels

    async def run(self) -> None:
        """Receives until the source sends RTCP BYE. Raises PullFailed."""
        video, connection = self._video, self._connection
        self._frames.announce(video.codec)
        wanted = {"Transport": f"RTP/AVP/TCP;unicast;interleaved={self._media}-{self._control}"}
        setup = await connection.ask("SETUP", video.control, wanted)
        _require(setup)
        self._media, self._control = _channels(setup.headers.get("transport", ""))
        session, _, parameters = setup.headers.get("session", "").partition(";")
        connection.session = session.strip()
        try:
            _require(await connection.ask("PLAY", video.session_control, {"Range": "npt=0.000-"}))
            async with _kept_alive(connection, video.session_control, _timeout_s(parameters)):
                while await self._receive_one():
                    pass
        finally:
            if connection.session:
                connection.request("TEARDOWN", video.session_control, {})

    def request_keyframe(self) -> None:
        if self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    def ask_keyframe(self, ssrc: int) -> None:
        self._connection.send_packet(self._control, picture_loss(ssrc))

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None:
        video = self._video
        if keyframe and video.codec is Codec.H264 and not _has_parameter_sets(payload):
            payload = video.parameter_sets + payload
        self._frames.frame(payload, pts_s, keyframe, age_s, layer, display=display)

    def lost(self) -> None:
        self._frames.lost()

    async def _receive_one(self) -> bool:
        """Takes one packet; returns False for RTCP BYE. Raises PullFailed."""
        data = await self._connection.next_packet()
        if data is None:
            return True
        channel, packet = data
        video = self._video
        try:
            if channel == self._control:
                return not says_goodbye(packet, self._track.ssrc)
            fragment = fragment_of(RtpPacket.parse(packet), video.codec, video.payload_type, time.monotonic())
        except BROKEN:
            return True
        if fragment is not None and channel == self._media:
            self._track.take(fragment)
        return True


@asynccontextmanager
async def _kept_alive(connection: _Connection, url: str, timeout_s: int) -> AsyncIterator[None]:
    """Sends GET_PARAMETER twice per session timeout; the answers are ignored like any other."""

    async def send() -> None:
        while True:
            await asyncio.sleep(timeout_s / 2)
            connection.request("GET_PARAMETER", url, {})

    sending = asyncio.get_running_loop().create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _require(answer: RtspResponse) -> None:
    if answer.status != 200:
        raise failed_status(answer.status)


def _channels(transport: str) -> tuple[int, int]:
    """Returns the channels of media and RTCP, which the source may choose itself."""
    found = re.search(r"interleaved=(\d{1,3})-(\d{1,3})", transport, re.ASCII)
    media, control = (int(found[1]), int(found[2])) if found else (0, 1)
    return (media, control) if media < 256 and control < 256 else (0, 1)


def _timeout_s(parameters: str) -> int:
    name, _, value = parameters.strip().partition("=")
    is_given = name == "timeout" and value.isdecimal() and len(value) < 6
    return max(2, int(value)) if is_given else _DEFAULT_TIMEOUT_S


def _has_parameter_sets(payload: bytes) -> bool:
    return any(kind == _SPS for kind, _ in nal_units(payload))
