"""Settings of WebRTC and LiveKit: addresses, ports, STUN and TURN. Part of `api.settings.base`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from api.settings.field import BOOLEAN, setting, split

_STUN = re.compile(r"stun:[A-Za-z0-9._\[\]:-]+")
_TURN = re.compile(r"turns?:[A-Za-z0-9._\[\]:-]+(\?transport=(udp|tcp))?")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})", re.ASCII)
_LEAST_PORT = 1024


class RtcSettings(BaseSettings):
    """WebRTC publishers."""

    public_addresses: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_PUBLIC_ADDRESSES", "Public addresses of this machine, where it is behind NAT",
        "IP addresses, comma separated",
    )
    udp_ports: Annotated[tuple[int, int] | None, NoDecode] = setting(
        None, "DEEPGUARD_UDP_PORTS", "UDP port range of WebRTC media, one port per address and call; empty: any",
        "low-high within 1024 to 65535, such as 40000-40999",
    )
    stun: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_STUN", "STUN servers announced to publishers", "stun:host[:port], comma separated"
    )
    turn: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_TURN", "TURN servers announced to publishers",
        "turn(s):host[:port][?transport=udp or tcp], comma separated",
    )
    turn_secret: SecretStr | None = setting(
        None, "DEEPGUARD_TURN_SECRET", "Shared secret of the TURN servers (coturn: static-auth-secret)", "text"
    )
    turn_user: str = setting("", "DEEPGUARD_TURN_USER", "User of the TURN servers, without a shared secret", "text")
    turn_password: SecretStr | None = setting(
        None, "DEEPGUARD_TURN_PASSWORD", "Password of DEEPGUARD_TURN_USER", "text"
    )
    remote_candidates: bool = setting(
        False, "DEEPGUARD_REMOTE_CANDIDATES", "Send ICE checks to the candidates of publishers, not only answer theirs",
        BOOLEAN,
    )
    overflow_url: str = setting(
        "", "DEEPGUARD_OVERFLOW_URL", "Service that publishers are redirected to (307) while this one is full",
        "http(s)://host[:port]",
    )

    @field_validator("public_addresses", "stun", "turn", mode="before")
    @classmethod
    def _split_lists(cls, value: Any) -> Any:
        return split(value)

    @field_validator("public_addresses")
    @classmethod
    def _are_public(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_address(part)) for part in value)

    @field_validator("stun", "turn")
    @classmethod
    def _are_servers(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        pattern = _STUN if info.field_name == "stun" else _TURN
        if not all(pattern.fullmatch(server) for server in value):
            raise ValueError(value)
        return value

    @field_validator("udp_ports", mode="before")
    @classmethod
    def _is_range(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _PORTS.fullmatch(value.strip())
        low, high = (int(match[1]), int(match[2])) if match else (0, 0)
        if not _LEAST_PORT <= low <= high <= 65535:
            raise ValueError(value)
        return low, high

    @field_validator("overflow_url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if value and (scheme not in ("http", "https") or not rest or "/" in rest.rstrip("/")):
            raise ValueError(value)
        return value.rstrip("/")


class LiveKitSettings(BaseSettings):
    """Credentials of `deepguard livekit`."""

    livekit_api_key: str = setting("", "LIVEKIT_API_KEY", "API key of the LiveKit server", "text")
    livekit_api_secret: SecretStr = setting(
        SecretStr(""), "LIVEKIT_API_SECRET", "API secret of the LiveKit server", "text"
    )
