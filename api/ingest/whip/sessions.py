"""WHIP sessions: offers in, answers out, trickled candidates and hanging up (RFC 9725)."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, NamedTuple

from api.errors import NotFound, OfferRefused
from api.ingest.live_source import SourceKind
from api.ingest.registry import Quota
from api.ingest.whip.config import WhipConfig
from api.ingest.whip.offer import offered_candidates, prepare_offer
from api.ingest.whip.session import Offer, WhipSession
from api.ingest.whip.trickle import read_fragment, require_match
from stream.types import EndReason

if TYPE_CHECKING:
    from api.ingest.registry import SourceRegistry


class SessionAnswer(NamedTuple):
    """A publisher's answer: its SDP, the unguessable id of its session, and the entity tag of its ICE session."""

    sdp: str
    session_id: str
    etag: str


class SessionRef(NamedTuple):
    """Names one session; `tenant` is that of the caller, which must own the session."""

    stream: str
    session_id: str
    tenant: str


class WhipStatus(NamedTuple):
    """Numbers of sessions; `pending` ones are not connected yet."""

    sessions: int
    pending: int


class WhipSessions:
    """Starts, finds and ends WHIP sessions in the registry. Used from one event loop."""

    def __init__(self, config: WhipConfig, registry: SourceRegistry) -> None:
        self._config = config
        self._registry = registry

    @property
    def config(self) -> WhipConfig:
        return self._config

    @property
    def status(self) -> WhipStatus:
        sessions = self._registry.of_kind(SourceKind.WHIP)
        return WhipStatus(len(sessions), sum(session.is_pending for session in sessions))

    async def offer(self, offer: Offer) -> SessionAnswer:
        """Starts a session and reserves its stream id; a refused offer leaves nothing behind.

        Raises OfferRefused, StreamExists, Busy, ServiceFull, ServiceDraining.
        """
        config = self._config
        prepared = prepare_offer(offer.sdp)
        quota = Quota(SourceKind.WHIP, config.max_sessions, config.max_sessions_per_caller, config.max_pending)
        self._registry.admit(offer.identity.stream, quota, offer.caller.identity)
        session = WhipSession(offer, prepared, config, self._registry)
        self._registry.add(session)
        try:
            sdp = await session.answer()
            if config.remote_candidates:
                await session.try_candidates(offered_candidates(offer.sdp))
            return SessionAnswer(sdp, session.session_id, session.etag)
        except BaseException:
            await asyncio.shield(session.finish(EndReason.NEVER_CONNECTED))
            raise

    def find(self, ref: SessionRef) -> WhipSession:
        """Raises NotFound unless a running session of this tenant has this id."""
        session = self._registry.get(ref.stream)
        if (
            not isinstance(session, WhipSession)
            or not hmac.compare_digest(session.session_id.encode(), ref.session_id.encode())
            or session.offer.caller.tenant != ref.tenant
        ):
            raise NotFound("session_unknown", "there is no such session, or it is over")
        return session

    async def trickle(self, ref: SessionRef, fragment: str, if_match: str | None) -> None:
        """Takes candidates that a publisher found after its offer.

        Raises NotFound, or OfferRefused with 400, 412, 428, or 422 for an ICE restart. A refused fragment leaves the
        session as it was.
        """
        session = self.find(ref)
        require_match(if_match, session.etag)
        read = read_fragment(fragment, session.ice.mids)
        if read.restarts(session.ice.ufrag, session.ice.password):
            raise OfferRefused(422, "ice_restart_unsupported", "ICE restarts are not supported; start a new session")
        await session.try_candidates(read.candidates)

    async def end(self, ref: SessionRef) -> None:
        """Ends a session; returns after its last verdict. Raises NotFound."""
        await self.find(ref).finish(EndReason.PUBLISHER_LEFT)
