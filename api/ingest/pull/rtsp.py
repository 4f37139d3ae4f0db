"""RTSP: media and RTCP interleaved in one TCP connection, of which packets go where those of WebRTC go."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from aiortc.rtp import RtpPacket

from api.ingest.pull.errors import PullFailed, failed_status
from api.ingest.pull.rtsp_messages import (
    MAX_HEAD_BYTES,
    Answer,
    Login,
    OfferedVideo,
    best_challenge,
    offered_video,
    read_head,
)
from api.ingest.rtp_packets import BROKEN, fragment_of, picture_loss, says_goodbye
from stream.sources.rtp_video import VideoTrack, nal_units
from stream.types import Codec

if TYPE_CHECKING:
    from api.ingest.pull.dialer import Dialer
    from api.ingest.pull.puller import Frames
    from api.ingest.pull.url_policy import Place
    from stream.temporal_layers import Layer

_MAX_REDIRECTS = 3
_INTERLEAVED = b"$"
_SPS = 7
_DEFAULT_TIMEOUT_S = 60
_ANSWER_S = 10.0


class RtspAttempt:
    """One session with a camera or server. `Attempt` of `api.ingest.pull.puller`."""

    def __init__(self, place: Place, dialer: Dialer) -> None:
        self._place = place
        self._dialer = dialer
        self._session: _Session | None = None

    def request_keyframe(self) -> None:
        if self._session is not None:
            self._session.request_keyframe()

    async def run(self, frames: Frames) -> None:
        place = self._place
        for _ in range(_MAX_REDIRECTS + 1):
            session = _Session(place, *await self._dialer.connect(place))
            try:
                redirect = await session.describe()
                if redirect is None:
                    self._session = session
                    await session.play(frames)
                    return
            finally:
                self._session = None
                await session.close()
            login = (place.user, place.password)
            target = self._dialer.policy.check(redirect, ("rtsp", "rtsps"))
            is_same = target[:3] == place[:3]
            place = target._replace(user=login[0], password=login[1]) if is_same else target
        raise PullFailed("too_many_redirects", f"more than {_MAX_REDIRECTS} redirects", is_final=True)


class _Session:
    """One connection."""

    def __init__(self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._login: Login | None = None
        self._number = 0
        self._headers: dict[str, str] = {}      # that every request has from SETUP on
        self._video: OfferedVideo | None = None
        self._track: VideoTrack | None = None
        self._frames: Frames | None = None
        self._media, self._control = 0, 1       # the channels

    async def describe(self) -> str | None:
        """Learns what there is; the URL to ask instead, if there is one. Raises PullFailed."""
        answer = await self._ask("DESCRIBE", self._place.url, {"Accept": "application/sdp"})
        if 300 <= answer.status < 400 and "location" in answer.headers:
            return answer.headers["location"]
        _require(answer)
        base = answer.headers.get("content-base") or answer.headers.get("content-location") or self._place.url
        self._video = offered_video(answer.body.decode("utf-8", "replace").replace("\r\n", "\n"), base)
        return None

    async def play(self, frames: Frames) -> None:
        """Receives until the source says goodbye. Raises PullFailed."""
        video = self._video
        if video is None:
            return
        frames.announce(video.codec)
        self._frames, self._track = frames, VideoTrack(video.codec, self)
        wanted = {"Transport": f"RTP/AVP/TCP;unicast;interleaved={self._media}-{self._control}"}
        setup = await self._ask("SETUP", video.control, wanted)
        _require(setup)
        self._media, self._control = _channels(setup.headers.get("transport", ""))
        session, _, rest = setup.headers.get("session", "").partition(";")
        if session:
            self._headers["Session"] = session.strip()
        _require(await self._ask("PLAY", video.session_control, {"Range": "npt=0.000-"}))
        alive = asyncio.get_running_loop().create_task(self._stay_alive(video.session_control, _timeout_s(rest)))
        try:
            while await self._receive_one(self._track, video):
                pass
        finally:
            alive.cancel()
            await asyncio.gather(alive, return_exceptions=True)

    async def close(self) -> None:
        """Says goodbye where there is something to say it to."""
        if "Session" in self._headers and self._video is not None and not self._writer.is_closing():
            self._request("TEARDOWN", self._video.session_control, {})
        self._writer.close()

    def request_keyframe(self) -> None:
        if self._track is not None and self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    def ask_keyframe(self, ssrc: int) -> None:
        if not self._writer.is_closing():
            packet = picture_loss(ssrc)
            self._writer.write(_INTERLEAVED + bytes((self._control,)) + len(packet).to_bytes(2, "big") + packet)

    def frame(self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer) -> None:
        video = self._video
        if keyframe and video is not None and video.codec is Codec.H264 and not _has_parameter_sets(payload):
            payload = video.parameter_sets + payload
        if self._frames is not None:
            self._frames.frame(payload, pts_s, keyframe, age_s, layer)

    def lost(self) -> None:
        if self._frames is not None:
            self._frames.lost()

    async def _ask(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        """The answer; the login is told when the source asks for it. Raises PullFailed."""
        answer = await self._exchange(method, url, headers)
        if answer.status == 401 and self._login is None and self._place.user:
            challenge = best_challenge(answer.challenges)
            if challenge is not None:
                self._login = Login(self._place.user, self._place.password, challenge)
                answer = await self._exchange(method, url, headers)
        return answer

    async def _exchange(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        self._request(method, url, headers)
        try:
            async with asyncio.timeout(_ANSWER_S):
                while (answer := await self._next()) is None or not answer.status:
                    pass
        except TimeoutError:
            raise PullFailed("timeout", f"{self._place.authority} does not answer {method}") from None
        return answer

    def _request(self, method: str, url: str, headers: dict[str, str]) -> None:
        self._number += 1
        every = {"CSeq": str(self._number), "User-Agent": "deepguard", **self._headers, **headers}
        if self._login is not None:
            every["Authorization"] = self._login.header(method, url)
        head = "".join(f"{name}: {value}\r\n" for name, value in every.items())
        self._writer.write(f"{method} {url} RTSP/1.0\r\n{head}\r\n".encode("latin-1", "replace"))

    async def _receive_one(self, track: VideoTrack, video: OfferedVideo) -> bool:
        """False at a goodbye."""
        data = await self._next_packet()
        if data is None:
            return True
        channel, packet = data
        try:
            if channel == self._control:
                return not says_goodbye(packet, track.ssrc)
            fragment = fragment_of(RtpPacket.parse(packet), video.codec, video.payload_type, time.monotonic())
        except BROKEN:
            return True
        if fragment is not None and channel == self._media:
            track.take(fragment)
        return True

    async def _next(self) -> Answer | None:
        """The next answer; None for a packet that came before it. Raises PullFailed."""
        try:
            first = await self._reader.readexactly(1)
            if first == _INTERLEAVED:
                await self._packet()
                return None
            return await self._answer(first)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise PullFailed("connection_lost", f"{self._place.authority} closed the connection") from None

    async def _next_packet(self) -> tuple[int, bytes] | None:
        """The next packet with its channel; None for anything else. Raises PullFailed."""
        try:
            first = await self._reader.readexactly(1)
            if first == _INTERLEAVED:
                return await self._packet()
            await self._answer(first)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise PullFailed("connection_lost", f"{self._place.authority} closed the connection") from None
        return None

    async def _packet(self) -> tuple[int, bytes]:
        head = await self._reader.readexactly(3)
        return head[0], await self._reader.readexactly(int.from_bytes(head[1:], "big"))

    async def _answer(self, first: bytes) -> Answer:
        try:
            head = first + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise PullFailed("protocol_error", "the source does not speak RTSP") from None
        if len(head) > MAX_HEAD_BYTES:
            raise PullFailed("protocol_error", "the source's answer is too long")
        answer = read_head(head.removesuffix(b"\r\n\r\n"))
        return answer._replace(body=await self._reader.readexactly(answer.length))

    async def _stay_alive(self, url: str, timeout_s: int) -> None:
        """Keeps the session from being forgotten; what is answered to that is passed over."""
        while True:
            await asyncio.sleep(timeout_s / 2)
            self._request("GET_PARAMETER", url, {})


def _require(answer: Answer) -> None:
    if answer.status != 200:
        raise failed_status(answer.status)


def _channels(transport: str) -> tuple[int, int]:
    """Those of media and RTCP; the source may take others than it was asked for."""
    found = re.search(r"interleaved=(\d{1,3})-(\d{1,3})", transport, re.ASCII)
    media, control = (int(found[1]), int(found[2])) if found else (0, 1)
    return (media, control) if media < 256 and control < 256 else (0, 1)


def _timeout_s(parameters: str) -> int:
    name, _, value = parameters.strip().partition("=")
    is_given = name == "timeout" and value.isdecimal() and len(value) < 6
    return max(2, int(value)) if is_given else _DEFAULT_TIMEOUT_S


def _has_parameter_sets(payload: bytes) -> bool:
    return any(kind == _SPS for kind, _ in nal_units(payload))
