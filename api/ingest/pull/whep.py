"""WHEP client (draft-ietf-wish-whep): one video from an SFU, through the same hardened path as WHIP."""

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
from api.ingest.pull.errors import PullFailed, PullRefused
from api.ingest.pull.url_policy import parse_media_url
from consumers.outbound_http import MalformedRedirect, OutboundRequest, absolute_url
from stream.codecs import BY_RTP_NAME, RTP_TITLES
from stream.sources.rtp_video import Fragment, VideoTrack
from stream.types import Codec

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

    from api.ingest.pull.dialer import Dialer
    from api.ingest.pull.puller import FrameSink
    from api.ingest.pull.url_policy import PullPolicy
    from stream.display_transform import DisplayTransform
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)

_MAX_ANSWER_BYTES = 64 * 1024
_CLOSE_S = 5.0
_ASK_EVERY_S = 0.5
_CREATED = 201


def session_ended() -> PullFailed:
    """WHEP does not tell the end of a call from the loss of a session, so a session that ends is tried again."""
    return PullFailed("connection_lost", "the SFU ended the session")


class SfuAnswer(NamedTuple):
    """An SFU's answer without the ICE candidates that the policy forbids."""

    sdp: str
    codec: Codec
    payload_type: int


def read_answer(text: str, policy: PullPolicy, loopback: bool) -> SfuAnswer:
    """Removes forbidden candidates.

    Raises PullFailed: address_not_allowed if no candidate is left, no_video, unsupported_codec.
    """
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
        if name is not None and name[1].upper() in BY_RTP_NAME:
            return SfuAnswer("\r\n".join(lines) + "\r\n", BY_RTP_NAME[name[1].upper()].codec, int(payload_type))
    raise PullFailed("unsupported_codec", f"{RTP_TITLES} are received by WHEP; the SFU sends neither", is_final=True)


def _session_url(answered: str, named: str) -> str:
    """Returns the absolute URL of the session, empty if the SFU names none. Raises PullFailed."""
    try:
        return absolute_url(answered, named) if named else ""
    except MalformedRedirect:
        raise PullFailed("protocol_error", "the SFU names a malformed URL as its session", is_final=True) from None


class WhepAttempt:
    """One session with an SFU. Implements `Attempt` of `api.ingest.pull.puller`."""

    def __init__(self, url: str, token: str, dialer: Dialer, network: Network) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._dialer = dialer
        self._network = network
        self._receiver: _Receiver | None = None

    def request_keyframe(self) -> None:
        if self._receiver is not None:
            self._receiver.request_keyframe()

    async def run(self, frames: FrameSink) -> None:
        connection = _Connection()
        location = ""
        try:
            offer = await connection.offer(self._network)
            text, location = await self._post(offer)
            answer = read_answer(text, self._dialer.policy, self._network.loopback)
            frames.announce(answer.codec)
            self._receiver = await connection.accept(answer, frames)
            await connection.ended
        finally:
            receiver, self._receiver = self._receiver, None
            try:
                if receiver is not None:
                    await receiver.close()
                await connection.close()
            finally:
                await self._delete(location)

    async def _post(self, offer: str) -> tuple[str, str]:
        """Returns the answer and the URL of the session, empty if the SFU names none. Raises PullFailed."""
        headers = {**self._headers, "Content-Type": "application/sdp", "Accept": "application/sdp"}
        request = OutboundRequest("POST", self._url, headers, offer.encode())
        async with self._dialer.fetch(request) as (response, final):
            body = b""
            try:
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > _MAX_ANSWER_BYTES:
                        raise PullFailed("protocol_error", "the SFU's answer is too long")
            except httpx.HTTPError:
                raise PullFailed("connection_lost", f"{final.authority} closed the connection") from None
            named = response.headers.get("location", "")
            session = _session_url(final.url, named)
            if response.status_code != _CREATED:
                raise PullFailed("protocol_error", f"the SFU answers {response.status_code}, WHEP requires 201")
        return body.decode("utf-8", "replace"), session

    async def _delete(self, location: str) -> None:
        """Ends the session at the SFU. Ignores failures: the SFU then times the session out."""
        if not location:
            return
        with suppress(PullFailed, TimeoutError):
            is_same = parse_media_url(location)[:3] == parse_media_url(self._url)[:3]     # no other host gets the token
            request = OutboundRequest("DELETE", location, self._headers if is_same else {})
            async with asyncio.timeout(_CLOSE_S), self._dialer.fetch(request):
                pass


class _Connection:
    """A WebRTC connection that receives one video. `ended` raises PullFailed when the SFU ends it."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: RTCPeerConnection = new_connection()
        self._connection.on("connectionstatechange", self._state_changed)

    async def offer(self, network: Network) -> str:
        """Returns an SDP offer with all our candidates."""
        self._connection.addTransceiver("video", direction="recvonly")
        with listening_on(network):
            await self._connection.setLocalDescription(await self._connection.createOffer())
        sdp: str = self._connection.localDescription.sdp
        return sdp

    async def accept(self, answer: SfuAnswer, frames: FrameSink) -> _Receiver:
        """Connects; the returned receiver feeds `frames`. Raises PullFailed."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        except Exception as error:      # aiortc documents no exception for a bad description
            log.warning("SFU answer could not be negotiated", error=repr(error))
            raise PullFailed("protocol_error", "the SFU's answer cannot be negotiated") from error
        receiver = _Receiver(self._connection.getReceivers()[0], answer.codec, frames, self.ended)
        tap_video(receiver.rtp, receiver, {answer.payload_type: answer.codec})
        return receiver

    async def close(self) -> None:
        """Hangs up within 5 s."""
        self._connection.remove_all_listeners("connectionstatechange")
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            log.error("WebRTC connection did not close in time")
        if not self.ended.cancel() and not self.ended.cancelled():
            self.ended.exception()      # marks it as retrieved

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        if self.ended.done():
            return
        if state == "closed":       # by DTLS
            self.ended.set_exception(session_ended())
        elif state == "failed":
            self.ended.set_exception(PullFailed("connection_lost", "the connection to the SFU failed"))


class _Receiver:
    """The video of one connection: the `VideoTap` of its RTP receiver and the `TrackOutput` of its track."""

    def __init__(self, rtp: Any, codec: Codec, frames: FrameSink, ended: asyncio.Future[None]) -> None:
        self.rtp = rtp      # aiortc's receiver
        self._frames = frames
        self._ended = ended
        self._track = VideoTrack(codec, self)
        self._asked_s = float("-inf")
        self._asking: set[asyncio.Task[None]] = set()

    def packet(self, fragment: Fragment, codec: Codec) -> None:
        self._track.take(fragment)

    def goodbye(self, ssrcs: tuple[int, ...]) -> None:
        if self._track.ssrc in ssrcs and not self._ended.done():
            self._ended.set_exception(session_ended())

    def now_s(self) -> float:
        return time.monotonic()

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None:
        self._frames.frame(payload, pts_s, keyframe, age_s, layer, display=display)

    def lost(self) -> None:
        self._frames.lost()

    def ask_keyframe(self, ssrc: int) -> None:
        now_s = self.now_s()
        if now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            task = asyncio.get_running_loop().create_task(ask_keyframe(self.rtp, ssrc))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def request_keyframe(self) -> None:
        if self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    async def close(self) -> None:
        """Cancels requests that are still being sent."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
