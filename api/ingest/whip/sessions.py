"""All WHIP publishers: admission, deadlines, hanging up. The one owner of WebRTC connections that receive."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, NamedTuple

from api.errors import Busy, NotFound, OfferRefused
from api.ingest.registry import Keeper
from api.ingest.whip.config import PeersConfig
from api.ingest.whip.offer import offered_candidates, prepare_offer
from api.ingest.whip.session import Offer, Peer
from api.ingest.whip.trickle import read_fragment, require_match
from stream.types import EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import Streams

_RETRY_AFTER_S = 5
_RETRY_PENDING_S = 2


class Answer(NamedTuple):
    """What a publisher gets: the answer, the unguessable name of its session, and the tag of its ICE session."""

    sdp: str
    session_id: str
    etag: str


class SessionName(NamedTuple):
    """What a request must know to get at a session; `tenant` is the caller's."""

    stream: str
    session_id: str
    tenant: str


class PeersStatus(NamedTuple):
    sessions: int
    pending: int


class Peers(Keeper[Peer]):
    """Used from one event loop."""

    def __init__(self, config: PeersConfig, streams: Streams) -> None:
        super().__init__(streams)
        self._config = config

    @property
    def config(self) -> PeersConfig:
        return self._config

    @property
    def status(self) -> PeersStatus:
        return PeersStatus(len(self), sum(peer.is_pending for peer in self))

    async def offer(self, offer: Offer) -> Answer:
        """Takes a publisher. Raises OfferRefused, StreamExists, Busy, ServiceFull, ServiceDraining; nothing is left
        of a refused offer. The stream id is taken from here on."""
        prepared = prepare_offer(offer.sdp)
        self._admit(offer)
        peer = Peer(offer, prepared, self._config, self)
        self.keep(peer)
        try:
            sdp = await peer.answer()
            if self._config.remote_candidates:
                await peer.try_candidates(offered_candidates(offer.sdp))
            return Answer(sdp, peer.session_id, peer.etag)
        except BaseException:
            await asyncio.shield(peer.finish(EndReason.NEVER_CONNECTED))
            raise

    def find(self, name: SessionName) -> Peer:
        """Raises NotFound unless this is a session of this tenant that is not over."""
        peer = self.get(name.stream)
        if (
            peer is None
            or not hmac.compare_digest(peer.session_id.encode(), name.session_id.encode())
            or peer.offer.caller.tenant != name.tenant
        ):
            raise NotFound("session_unknown", "there is no such session, or it is over")
        return peer

    async def trickle(self, name: SessionName, fragment: str, if_match: str | None) -> None:
        """Takes candidates that a publisher found after its offer. Raises NotFound, or OfferRefused: 400, 412, 428, and
        422 for an ICE restart, which leaves the session as it was."""
        peer = self.find(name)
        require_match(if_match, peer.etag)
        read = read_fragment(fragment, peer.ice.mids)
        if read.restarts(peer.ice.ufrag, peer.ice.password):
            raise OfferRefused(422, "ice_restart_unsupported", "ICE is not restarted here; start a new session")
        await peer.try_candidates(read.candidates)

    async def hang_up(self, name: SessionName) -> None:
        """Ends the session of this name. Raises NotFound."""
        await self.find(name).finish(EndReason.PUBLISHER_LEFT)

    def _admit(self, offer: Offer) -> None:
        config = self._config
        self.check(offer.stream)
        self.check_admission(offer.stream)
        identity = offer.caller.identity
        own = sum(peer.offer.caller.identity == identity for peer in self)
        if len(self) >= config.max_sessions or own >= config.max_sessions_per_caller:
            raise Busy("sessions_full", "the limit of sessions at the same time is reached", _RETRY_AFTER_S)
        if self.status.pending >= config.max_pending:
            raise Busy("sessions_pending", "too many publishers are connecting at this moment", _RETRY_PENDING_S)
