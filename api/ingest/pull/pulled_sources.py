"""Sources that this service fetches by URL, started by `POST /v1/streams`: URL policy, admission and protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.ingest.aiortc_patches import Network
from api.ingest.live_source import SourceKind
from api.ingest.pull.dialer import Dialer
from api.ingest.pull.hls_http import DemuxedAttempt
from api.ingest.pull.puller import PulledSource, PullRequest, PullTimeouts
from api.ingest.pull.rtmp import RtmpAttempt
from api.ingest.pull.rtsp import RtspAttempt
from api.ingest.pull.whep import WhepAttempt
from api.ingest.registry import Quota

if TYPE_CHECKING:
    from api.ingest.pull.puller import Attempt
    from api.ingest.pull.url_policy import MediaUrl
    from api.ingest.registry import SourceRegistry
    from stream.identity import StreamIdentity

_PROTOCOLS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "rtmp", "rtmps": "rtmp"}


@dataclass(frozen=True, slots=True)
class PullConfig:
    """Limits of all pulled sources, and how they connect; `network` is for the WebRTC connections of WHEP."""

    max_sources: int = 64
    dialer: Dialer = field(default_factory=Dialer)
    timeouts: PullTimeouts = field(default_factory=PullTimeouts)
    network: Network = field(default_factory=lambda: Network(loopback=False))
    max_sources_per_caller: int | None = None


class PulledSources:
    """Starts pulled sources in the registry. Used from one event loop."""

    def __init__(self, config: PullConfig, registry: SourceRegistry) -> None:
        self._config = config
        self._registry = registry

    async def pull(self, identity: StreamIdentity, url: str, caller: str = "") -> PullRequest:
        """Starts to fetch `url` by the protocol of its scheme. `caller` is what the limits count by.

        Raises PullRefused for an address that the policy forbids, StreamExists, Busy, ServiceFull, ServiceDraining.
        """
        location = self.dialer.policy.check(url)
        attempt = _attempt(location, url, self.dialer)
        await self._admit(identity, location, caller)
        return self._start(PullRequest(identity, _protocol(location), location.authority, caller), attempt)

    async def whep(self, identity: StreamIdentity, url: str, token: str, caller: str = "") -> PullRequest:
        """Starts to receive from an SFU by WHEP. Raises as `pull`."""
        location = self.dialer.policy.check(url, ("http", "https"))
        await self._admit(identity, location, caller)
        attempt = WhepAttempt(url, token, self.dialer, self._config.network)
        return self._start(PullRequest(identity, "whep", location.authority, caller), attempt)

    @property
    def dialer(self) -> Dialer:
        """Connects as the policy of pulled sources allows."""
        return self._config.dialer

    async def _admit(self, identity: StreamIdentity, location: MediaUrl, caller: str) -> None:
        quota = Quota(SourceKind.PULL, self._config.max_sources, self._config.max_sources_per_caller)
        self._registry.admit(identity.stream, quota, caller)
        await self.dialer.address_of(location)
        self._registry.admit(identity.stream, quota, caller)    # others may have taken the location during the look-up

    def _start(self, request: PullRequest, attempt: Attempt) -> PullRequest:
        self._registry.add(PulledSource(request, attempt, self._config.timeouts, self._registry))
        return request


def _attempt(location: MediaUrl, url: str, dialer: Dialer) -> Attempt:
    match _PROTOCOLS.get(location.scheme):
        case "rtsp":
            return RtspAttempt(location, dialer)
        case "rtmp":
            return RtmpAttempt(location, dialer)
    return DemuxedAttempt(url, dialer)


def _protocol(location: MediaUrl) -> str:
    if location.scheme in _PROTOCOLS:
        return _PROTOCOLS[location.scheme]
    return "hls" if location.target.partition("?")[0].lower().endswith((".m3u8", ".m3u")) else "http"
