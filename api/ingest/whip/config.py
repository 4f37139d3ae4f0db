"""Limits and addresses of WHIP sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.ingest.whip.ice_servers import IceServers


@dataclass(frozen=True, slots=True)
class WhipConfig:
    """Limits and addresses of all WHIP sessions.

    `max_sessions_per_caller` counts a caller's sources of every kind; None is no limit. `max_pending` limits the
    sessions that are not connected yet. `loopback` offers 127.0.0.1 as a candidate. `public_addresses` replace our own
    addresses in answers. `remote_candidates` sends ICE checks to the addresses that publishers name; `local` allows
    loopback ones among them. `overflow_url` is the service that takes offers when this one is full.
    """

    max_sessions: int = 64
    max_sessions_per_caller: int | None = None
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
