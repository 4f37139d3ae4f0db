"""Kafka connection settings and limits. Frozen values; no I/O."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


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
    OAUTHBEARER = "OAUTHBEARER"


class OauthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Source of tokens; one of `token_url`, `token_file` and `provider` is set.

    `token_url` is asked by the grant "client credentials" of RFC 6749. `token_file` is read at every login, so that
    another process may renew it. `provider` names a function without arguments as `module:function`; it returns a token
    or, as the signer for AWS MSK does, a token and its expiry in milliseconds of Unix time. It may be asynchronous.
    """

    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    scope: str = ""
    token_file: Path | None = None
    provider: str = ""

    def __repr__(self) -> str:
        return f"OauthConfig(client {self.client_id})"


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
    oauth: OauthConfig = OauthConfig()
    record_bytes: int = 8 * 2**20
    fetch_bytes: int = 8 * 2**20
    partition_fetch_bytes: int = 2**20
    sends_in_flight: int = 64
    session_timeout_s: float = 30.0
    rebalance_timeout_s: float = 30.0
    request_timeout_s: float = 15.0

    def __repr__(self) -> str:
        return f"KafkaConfig({self.bootstrap}, {self.security}, client {self.client_id})"
