"""All WHIP publishers: admission, deadlines, hanging up. The one owner of WebRTC connections that receive."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from api.errors import Busy, NotFound, OfferRefused
from api.ice_servers import IceServers
from api.keeper import Keeper
from api.peer import Offer, Peer
from api.sdp import offered_candidates, prepare_offer
from api.sdp_fragment import read_fragment, require_match
from stream.types import EndReason

if TYPE_CHECKING:
    from api.live_source import Streams

_RETRY_AFTER_S = 5
_RETRY_PENDING_S = 2


@dataclass(frozen=True, slots=True)
class PeersConfig:
    """Bounds of all publishers. `max_pending` are those that are not connected yet; `loopback` offers 127.0.0.1 as a
    candidate, for a service that is bound to it. `public_addresses` are told in place of our own; `remote_candidates`
    sends checks to where publishers say they are, to this machine only if all are on it (`local`); `overflow_url` is
    another service, for when this one is full."""

    max_sessions: int = 64
    max_sessions_per_caller: int = 64
    max_pending: int = 32
    connect_s: float = 15.0
    silence_s: float = 10.0
    close_s: float = 5.0
    loopback: bool = True
    udp_ports: tuple[int, int] | None = None
    public_addresses: tuple[str, ...] = ()
    remote_candidates: bool = False
    local: bool = True
    ice_servers: IceServers = field(default_factory=IceServers)
    overflow_url: str = ""


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
