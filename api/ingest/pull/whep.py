"""WHEP (draft-ietf-wish-whep): one video out of an SFU, over the same hardened path as that of publishers."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import structlog
from aiortc import RTCSessionDescription

from api.ingest.aiortc_patches import Network, ask_keyframe, listening_on, new_connection, tap_video
from api.ingest.ice_candidates import is_usable, read_candidate
from api.ingest.pull.dialer import Request
from api.ingest.pull.errors import PullFailed, PullRefused
from api.ingest.pull.url_policy import place_of
from stream.sources.rtp_video import Fragment, VideoTrack
from stream.types import Codec

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

    from api.ingest.pull.dialer import Dialer
    from api.ingest.pull.puller import Frames
    from api.ingest.pull.url_policy import PullPolicy
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)

_MAX_ANSWER_BYTES = 64 * 1024
_CLOSE_S = 5.0
_ASK_EVERY_S = 0.5
_CODECS = {"H264": Codec.H264, "VP8": Codec.VP8}
_CREATED = 201


class SfuAnswer(NamedTuple):
    """What an SFU said, without the candidates that may not be used."""

    sdp: str
    codec: Codec


def read_answer(text: str, policy: PullPolicy, loopback: bool) -> SfuAnswer:
    """Raises PullFailed: address_not_allowed where no candidate is left, unsupported_codec, protocol_error."""
    lines, left, seen = [], 0, 0
    for line in text.splitlines():
        if line.startswith("a=candidate:"):
            seen += 1
            candidate = read_candidate(line.removeprefix("a=candidate:"))
            if candidate is None or not policy.allows(candidate.address) or not is_usable(candidate, loopback):
                continue
            left += 1
        lines.append(line)
    if seen and not left:
        raise PullRefused("address_not_allowed", "the SFU sends from addresses that are not allowed")
    video = re.search(r"^m=video ([1-9]\d*) \S+ ([\d ]+)$(.*?)(?=^m=|\Z)", "\n".join(lines) + "\n", re.M | re.S)
    if video is None:
        raise PullFailed("no_video", "the SFU sends no video", is_final=True)
    for payload_type in video[2].split():
        name = re.search(rf"^a=rtpmap:{payload_type} (\w+)/90000", video[3], re.MULTILINE)
        if name is not None and name[1].upper() in _CODECS:
            return SfuAnswer("\r\n".join(lines) + "\r\n", _CODECS[name[1].upper()])
    raise PullFailed("unsupported_codec", "H.264 and VP8 are taken; the SFU sends neither", is_final=True)


class WhepAttempt:
    """One session with an SFU. `Attempt` of `api.ingest.pull.puller`."""

    def __init__(self, url: str, token: str, dialer: Dialer, network: Network) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._dialer = dialer
        self._network = network
        self._session: _Session | None = None

    def request_keyframe(self) -> None:
        if self._session is not None:
            self._session.request_keyframe()

    async def run(self, frames: Frames) -> None:
        session = self._session = _Session(frames)
        location = ""
        try:
            offer = await session.offer(self._network)
            answer, location = await self._post(offer)
            await session.connect(read_answer(answer, self._dialer.policy, self._network.loopback))
            await session.ended
        finally:
            self._session = None
            try:
                await session.close()
            finally:
                await self._delete(location)

    async def _post(self, offer: str) -> tuple[str, str]:
        """The answer, and where the session is, if the SFU says so. Raises PullFailed."""
        headers = {**self._headers, "Content-Type": "application/sdp", "Accept": "application/sdp"}
        async with self._dialer.fetch(Request("POST", self._url, headers, offer.encode())) as (response, place):
            body = b""
            try:
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > _MAX_ANSWER_BYTES:
                        raise PullFailed("protocol_error", "the SFU's answer is too long")
            except httpx.HTTPError:
                raise PullFailed("connection_lost", f"{place.authority} closed the connection") from None
            named = response.headers.get("location", "")
            location = str(httpx.URL(place.url).join(named)) if named else ""
            if response.status_code != _CREATED:
                raise PullFailed("protocol_error", f"the SFU answers {response.status_code}, WHEP wants 201")
        return body.decode("utf-8", "replace"), location

    async def _delete(self, location: str) -> None:
        """Lets go of the session at the SFU; where that fails, it finds out by itself."""
        if not location:
            return
        with suppress(PullFailed, TimeoutError):
            is_same = place_of(location)[:3] == place_of(self._url)[:3]     # the token is for nobody else
            request = Request("DELETE", location, self._headers if is_same else {})
            async with asyncio.timeout(_CLOSE_S), self._dialer.fetch(request):
                pass


class _Session:
    """A connection that only receives. Takes packets and frames on the way."""

    def __init__(self, frames: Frames) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames = frames
        self._connection: RTCPeerConnection = new_connection()
        self._receiver: Any = None
        self._track: VideoTrack | None = None
        self._asked_s = float("-inf")
        self._asking: set[asyncio.Task[None]] = set()

    async def offer(self, network: Network) -> str:
        """With all our candidates."""
        self._connection.on("connectionstatechange", self._state_changed)
        self._connection.addTransceiver("video", direction="recvonly")
        with listening_on(network):
            await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp

    async def connect(self, answer: SfuAnswer) -> None:
        """Raises PullFailed."""
        self._frames.announce(answer.codec)
        self._track = VideoTrack(answer.codec, self)
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        except Exception as error:      # aiortc raises what it likes at a description that it cannot use
            log.warning("an SFU's answer cannot be used", error=repr(error))
            raise PullFailed("protocol_error", "the SFU's answer is not understood") from error
        self._receiver = self._connection.getReceivers()[0]
        tap_video(self._receiver, self, answer.codec)

    async def close(self) -> None:
        """Hangs up, within 5 s."""
        self._connection.remove_all_listeners("connectionstatechange")
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            log.error("a connection did not close in time")
        if not self.ended.cancel() and not self.ended.cancelled():
            self.ended.exception()      # has been seen

    def packet(self, fragment: Fragment) -> None:
        if self._track is not None:
            self._track.take(fragment)

    def goodbye(self, ssrcs: tuple[int, ...]) -> None:
        if self._track is not None and self._track.ssrc in ssrcs and not self.ended.done():
            self.ended.set_result(None)

    def now_s(self) -> float:
        return time.monotonic()

    def frame(self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer) -> None:
        self._frames.frame(payload, pts_s, keyframe, age_s, layer)

    def lost(self) -> None:
        self._frames.lost()

    def ask_keyframe(self, ssrc: int) -> None:
        now_s = self.now_s()
        if self._receiver is not None and now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            task = asyncio.get_running_loop().create_task(ask_keyframe(self._receiver, ssrc))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def request_keyframe(self) -> None:
        if self._track is not None and self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        if self.ended.done():
            return
        if state == "closed":       # DTLS said so: the SFU has nothing more for us
            self.ended.set_result(None)
        elif state == "failed":
            self.ended.set_exception(PullFailed("connection_lost", "the connection to the SFU failed"))
