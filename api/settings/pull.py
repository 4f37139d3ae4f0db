"""Settings of pulled streams: allowed sources and retries. Part of `api.settings.base`."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import field_validator
from pydantic_settings import BaseSettings, NoDecode

from api.settings.field import setting, split

PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}
"""The URL schemes that can be pulled, and the default port of each."""
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9._:-]+", re.ASCII)


class PullSettings(BaseSettings):
    """Streams that the service fetches (`POST /v1/streams`)."""

    pull_schemes: Annotated[tuple[str, ...], NoDecode] = setting(
        tuple(PORTS), "DEEPGUARD_PULL_SCHEMES", "URL schemes that may be pulled; `none`: none",
        f"{', '.join(PORTS)}, or none",
    )
    pull_hosts: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_PULL_HOSTS", "Hosts that may be pulled from; empty: any public host",
        "names, addresses or *.example.com, comma separated",
    )
    pull_networks: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_PULL_NETWORKS", "Non-public networks that may be pulled from",
        "such as 10.1.0.0/16, comma separated",
    )
    pull_retry_s: float = setting(
        300.0, "DEEPGUARD_PULL_RETRY_S", "Seconds after the last media for which an interrupted source is retried",
        "0 to 86400 seconds", ge=0, le=86400,
    )

    @field_validator("pull_schemes", "pull_hosts", "pull_networks", mode="before")
    @classmethod
    def _split_pull_lists(cls, value: Any) -> Any:
        return split(value)

    @field_validator("pull_schemes")
    @classmethod
    def _are_schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value == ("none",):
            return ()
        if not set(value) <= set(PORTS):
            raise ValueError(value)
        return value

    @field_validator("pull_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_HOST.fullmatch(host) for host in value):
            raise ValueError(value)
        return tuple(host.lower() for host in value)

    @field_validator("pull_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in value)
