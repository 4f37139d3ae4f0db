"""One WHIP session: a WebRTC connection whose encoded video feeds one stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog
from aiortc import RTCIceCandidate, RTCSessionDescription

from api.errors import Busy, OfferRefused
from api.ingest.aiortc_patches import Network, ask_keyframe, ignore_audio, listening_on, new_connection, tap_video
from api.ingest.ice_candidates import MAX_CANDIDATES, is_usable
from api.ingest.live_source import LiveSource, SourceKind
from api.ingest.whip.answer import finish_answer
from api.ingest.whip.offer import IceSession, PreparedOffer
from stream.sources.rtp_video import Fragment, VideoTrack
from stream.stream_session import StreamSpec
from stream.types import EndReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiortc import RTCRtpReceiver

    from api.http.auth import Caller
    from api.ingest.ice_candidates import RemoteCandidate
    from api.ingest.live_source import SourceOwner
    from api.ingest.whip.config import WhipConfig
    from stream.identity import StreamIdentity
    from stream.types import Codec

log = structlog.get_logger(__name__)

_ASK_EVERY_S = 0.5
_ICE_TICK_S = 0.05      # within this, aiortc's connecting task notices that the connection is closed


class Offer(NamedTuple):
    """A publisher's SDP offer. `sample` marks the demonstration call."""

    identity: StreamIdentity
    sdp: str
    caller: Caller
    sample: bool = False


class WhipSession(LiveSource):
    """Negotiates in `answer`, then takes packets until the publisher leaves or falls silent."""

    kind = SourceKind.WHIP

    def __init__(self, offer: Offer, prepared: PreparedOffer, config: WhipConfig, owner: SourceOwner) -> None:
        super().__init__(offer.identity, owner, protocol="whip", caller=offer.caller.identity)
        self.session_id = secrets.token_urlsafe(16)
        self.etag = f'"{secrets.token_urlsafe(8)}"'
        self.offer = offer
        self._prepared = prepared
        self._config = config
        self._connection = new_connection()
        self._codec = prepared.formats[0].codec
        self._track = VideoTrack(self._codec, self)
        self._connected_s: float | None = None
        self._asked_s = float("-inf")
        self._candidates: set[RemoteCandidate] = set()

    @property
    def ice(self) -> IceSession:
        """The publisher's side of the ICE session, which no restart replaces."""
        return self._prepared.ice

    @property
    def is_pending(self) -> bool:
        """Whether ICE and DTLS have yet to connect."""
        return self._connected_s is None

    async def answer(self) -> str:
        """Negotiates and returns the answer's SDP. Raises OfferRefused, or Busy where no port is free.

        The caller finishes the session after an error.
        """
        connection, config = self._connection, self._config
        connection.on("connectionstatechange", self._state_changed)
        try:
            with listening_on(Network(config.loopback, config.udp_ports)):
                await connection.setRemoteDescription(RTCSessionDescription(self._prepared.sdp, "offer"))
                await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:      # aiortc documents no exception for a bad description
            log.warning("offer could not be negotiated", stream=self.stream, error=repr(error))
            raise OfferRefused(400, "sdp_malformed", "the offer could not be negotiated") from error
        for receiver in connection.getReceivers():
            if receiver.track.kind == "video":
                tap_video(receiver, self, {each.payload_type: each.codec for each in self._prepared.formats})
            else:
                ignore_audio(receiver)
        description = connection.localDescription.sdp
        if "a=candidate:" not in description:
            raise Busy("no_ports", "no network port is free for this connection", 5)
        return finish_answer(description, self._prepared, config.public_addresses)

    async def try_candidates(self, candidates: Iterable[RemoteCandidate]) -> None:
        """Sends ICE checks to usable candidates where the configuration allows it; ignores the others (RFC 9725 4.3.2).

        aiortc never gets an end of candidates, because it would give up too early.
        """
        config = self._config
        for candidate in candidates if config.remote_candidates and not self.is_over else ():
            if candidate in self._candidates or len(self._candidates) >= MAX_CANDIDATES:
                continue
            self._candidates.add(candidate)
            if is_usable(candidate, config.local):
                await self._connection.addIceCandidate(RTCIceCandidate(
                    candidate.component, candidate.foundation, candidate.address, candidate.port, candidate.priority,
                    candidate.transport, candidate.kind, sdpMid=self.ice.mids[0],
                ))

    def overdue(self, now_s: float) -> EndReason | None:
        config = self._config
        if self._connected_s is None:
            return EndReason.NEVER_CONNECTED if now_s - self.created_s > config.connect_s else None
        heard_s = max(self._connected_s, self._track.newest_s)
        return EndReason.SILENT if now_s - heard_s > config.silence_s else None

    def packet(self, fragment: Fragment, codec: Codec) -> None:
        """Takes a packet. Its codec is that of the first packet with media; a change ends the session."""
        if self.is_over:
            return
        if codec is not self._codec:
            if not fragment.data:
                return
            if self._track.ssrc is not None:
                self.end_soon(EndReason.FAILED, f"the publisher changed its codec from {self._codec} to {codec}")
                return
            self._codec, self._track = codec, VideoTrack(codec, self)
        self._track.take(fragment)

    def goodbye(self, ssrcs: tuple[int, ...]) -> None:
        if self._track.ssrc is None or self._track.ssrc in ssrcs:
            self.end_soon(EndReason.PUBLISHER_LEFT)

    def now_s(self) -> float:
        return time.monotonic()

    def ask_keyframe(self, ssrc: int) -> None:
        now_s = self.now_s()
        if not self.is_over and now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            self._owner.spawn(ask_keyframe(self._receiver, ssrc))

    def request_keyframe(self) -> None:
        if self._track.ssrc is not None:
            self.ask_keyframe(self._track.ssrc)

    @property
    def spec(self) -> StreamSpec:
        return StreamSpec(
            identity=self.identity, source=self.protocol, codec=self._codec, sample=self.offer.sample
        )

    @property
    def _receiver(self) -> RTCRtpReceiver:
        """The receiver of the one video, which is there once the offer is negotiated."""
        return next(receiver for receiver in self._connection.getReceivers() if receiver.track.kind == "video")

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        if state == "connected" and self._connected_s is None:
            self._connected_s = self.now_s()
            log.info("WHIP session connected", stream=self.stream, after_s=round(self._connected_s - self.created_s, 3))
        elif state in ("failed", "closed"):
            self.end_soon(EndReason.NEVER_CONNECTED if self.is_pending else EndReason.PUBLISHER_LEFT)

    async def _close_connection(self, reason: EndReason) -> None:
        self._connection.remove_all_listeners("connectionstatechange")
        try:
            async with asyncio.timeout(self._config.close_s):
                await self._connection.close()
                if self.is_pending:
                    await asyncio.sleep(_ICE_TICK_S)
        except TimeoutError:
            log.error("WebRTC connection did not close in time", stream=self.stream)
        track = self._track
        log.info(
            "WHIP session ended", stream=self.stream, reason=reason.value, frames=track.frames_whole,
            withheld=track.frames_withheld, gaps=track.gaps,
        )
