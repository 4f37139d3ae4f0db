"""Settings of the HTTP server and of access to it. Part of `api.settings.base`."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from api.settings.field import BOOLEAN, setting, split

_MIN_KEY_LENGTH = 16
_KEY_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")
_ORIGINS = "http(s)://host[:port], comma separated"


class ServerSettings(BaseSettings):
    """Where the service listens, and the reverse proxies in front of it."""

    port: int = setting(5000, "PORT", "TCP port to listen on", "0 to 65535; 0 picks a free one", ge=0, le=65535)
    host: str = setting(
        "127.0.0.1", "HOST", "Address to listen on; any address but loopback requires DEEPGUARD_API_KEYS",
        "an IP address or localhost",
    )
    health_port: int = setting(
        0, "DEEPGUARD_HEALTH_PORT",
        "TCP port on HOST where `deepguard consume` serves /livez, /readyz and /metrics; 0: none", "0 to 65535",
        ge=0, le=65535,
    )
    proxies: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_PROXIES", "Reverse proxies whose X-Forwarded-For header is trusted",
        "IP addresses or networks, comma separated",
    )

    @field_validator("proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: Any) -> Any:
        return split(value)

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if value != "localhost":
            ip_address(value)
        return value


class AccessSettings(BaseSettings):
    """API keys, origins of browser pages, and limits per client."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = setting(
        (), "DEEPGUARD_API_KEYS", "Keys that clients send as `Authorization: Bearer KEY`; empty: no key is needed",
        f"at least {_MIN_KEY_LENGTH} letters, digits or -._~+/= each, comma separated",
    )
    insecure: bool = setting(
        False, "DEEPGUARD_INSECURE", "Allow a HOST other than loopback without API keys", BOOLEAN
    )
    metrics_private: bool = setting(
        False, "DEEPGUARD_METRICS_PRIVATE", "Require an API key for /metrics, of `serve` and of `consume`", BOOLEAN
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "CORS_ORIGINS", "Origins whose pages may call the API and read its responses (CORS)", _ORIGINS
    )
    origins: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_ORIGINS", "Further origins whose pages may open the WebSocket or send requests, without CORS",
        _ORIGINS,
    )
    max_streams_per_key: int = setting(
        0, "DEEPGUARD_MAX_STREAMS_PER_KEY",
        "Concurrent sources of all kinds per API key (or client address); 0: only DEEPGUARD_MAX_STREAMS applies",
        "0 to 1000",
        ge=0, le=1000,
    )
    upload_rate_per_min: int = setting(
        60, "DEEPGUARD_UPLOAD_RATE", "Uploads per minute and API key (or client address)", "1 to 100000",
        ge=1, le=100_000,
    )
    offer_rate_per_min: int = setting(
        30, "DEEPGUARD_OFFER_RATE", "New streams per minute and API key (or client address)", "1 to 100000",
        ge=1, le=100_000,
    )

    @field_validator("api_keys", "cors_origins", "origins", mode="before")
    @classmethod
    def _split_access_lists(cls, value: Any) -> Any:
        return split(value)

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        keys = [key.get_secret_value() for key in value]
        if any(len(key) < _MIN_KEY_LENGTH or set(key) - _KEY_CHARACTERS for key in keys):
            raise ValueError("a key")
        return value

    @field_validator("cors_origins", "origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
                raise ValueError(origin)
        return tuple(origin.lower() for origin in value)
