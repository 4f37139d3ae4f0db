"""Limits and addresses of WHIP sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.ingest.whip.ice_servers import IceServers


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
