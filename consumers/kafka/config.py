"""Kafka connection settings and limits. No I/O but reading certificates."""

from __future__ import annotations

import ssl
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from consumers.errors import BrokerRefused

FETCH_WAIT_MS = 200


class Security(StrEnum):
    """Security protocol of a connection."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_tls(self) -> bool:
        return self in (Security.SSL, Security.SASL_SSL)

    @property
    def has_login(self) -> bool:
        return self in (Security.SASL_PLAINTEXT, Security.SASL_SSL)


class SaslMechanism(StrEnum):
    """SASL mechanism of a client's login."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class KafkaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Connection settings and limits of Kafka clients.

    `bootstrap` lists `host:port`, separated by commas. `instance` makes group members static: a restart within
    `session_timeout_s` moves no partition. Fetched records need at most 2 x `fetch_bytes` of memory per broker.
    """

    bootstrap: str
    client_id: str = "deepguard"
    instance: str = ""
    security: Security = Security.PLAINTEXT
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    username: str = ""
    password: str = ""
    record_bytes: int = 8 * 2**20
    fetch_bytes: int = 8 * 2**20
    partition_fetch_bytes: int = 2**20
    sends_in_flight: int = 64
    session_timeout_s: float = 30.0
    rebalance_timeout_s: float = 30.0
    request_timeout_s: float = 15.0

    def __repr__(self) -> str:
        return f"KafkaConfig({self.bootstrap}, {self.security}, client {self.client_id})"


def connection_options(config: KafkaConfig) -> dict[str, Any]:
    """Returns the options that all aiokafka clients share. Raises BrokerRefused for unreadable certificates."""
    options: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap,
        "client_id": config.client_id,
        "security_protocol": str(config.security),
    }
    if config.security.has_tls:
        options["ssl_context"] = _tls(config)
    if config.security.has_login:
        options |= {
            "sasl_mechanism": str(config.mechanism),
            "sasl_plain_username": config.username,
            "sasl_plain_password": config.password,
        }
    return options


def fetch_options(config: KafkaConfig) -> dict[str, Any]:
    """Returns the fetch limits; aiokafka's default is 50 MiB per broker. A larger single record still passes."""
    return {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "fetch_max_bytes": config.fetch_bytes,
        "max_partition_fetch_bytes": config.partition_fetch_bytes,
    }


def _tls(config: KafkaConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except (OSError, ssl.SSLError) as error:
        raise BrokerRefused(f"the certificates for Kafka cannot be read: {error}; check path and format") from None
    return context
