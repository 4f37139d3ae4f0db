"""Settings of Kafka: connection, consumer group, topics, and references to payloads. Part of `api.settings.base`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from api.settings.field import BOOLEAN, one_of, setting, split
from consumers.kafka.config import SaslMechanism, Security

_NAME = r"^[A-Za-z0-9._-]{1,249}$"
_NAME_TEXT = "letters, digits or ._-"


class DetectionMode(StrEnum):
    """Where live calls are analyzed: in this process, or by Kafka consumers."""

    LOCAL = "local"
    KAFKA = "kafka"


class VerdictSource(StrEnum):
    """Whose verdicts clients read: those of this process, or those of every worker on Kafka."""

    LOCAL = "local"
    KAFKA = "kafka"


def _topic(default: str, name: str, content: str) -> Any:
    return setting(default, name, f"Topic of {content}", _NAME_TEXT, pattern=_NAME)


class KafkaSettings(BaseSettings):
    """Kafka as media source and verdict sink."""

    kafka_bootstrap: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "KAFKA_BOOTSTRAP_SERVERS", "Bootstrap servers of the Kafka cluster", "host:port, comma separated"
    )
    detect: DetectionMode = setting(
        DetectionMode.LOCAL, "DEEPGUARD_DETECT",
        "Where live calls are analyzed: in this process, or by `deepguard consume`", one_of(DetectionMode),
    )
    verdicts: VerdictSource = setting(
        VerdictSource.LOCAL, "DEEPGUARD_VERDICTS",
        "Whose verdicts clients read: this process's, or those of all workers on Kafka", one_of(VerdictSource),
    )
    kafka_client_id: str = setting(
        "deepguard", "DEEPGUARD_KAFKA_CLIENT_ID", "Client id in the broker's logs and quotas", _NAME_TEXT,
        pattern=_NAME,
    )
    kafka_security: Security = setting(
        Security.PLAINTEXT, "DEEPGUARD_KAFKA_SECURITY", "Security protocol of connections to the brokers",
        one_of(Security),
    )
    kafka_ca_file: Path | None = setting(
        None, "DEEPGUARD_KAFKA_CA_FILE", "PEM file of the CA that signs broker certificates; empty: the system's CAs",
        "a file",
    )
    kafka_cert_file: Path | None = setting(
        None, "DEEPGUARD_KAFKA_CERT_FILE", "PEM file of the client certificate, for brokers that require one", "a file"
    )
    kafka_key_file: Path | None = setting(
        None, "DEEPGUARD_KAFKA_KEY_FILE", "PEM file of the client key; empty: it is in the certificate file", "a file"
    )
    kafka_sasl_mechanism: SaslMechanism = setting(
        SaslMechanism.SCRAM_SHA_512, "DEEPGUARD_KAFKA_SASL_MECHANISM", "SASL mechanism", one_of(SaslMechanism)
    )
    kafka_username: str = setting("", "DEEPGUARD_KAFKA_USERNAME", "SASL user name", "text")
    kafka_password: SecretStr = setting(SecretStr(""), "DEEPGUARD_KAFKA_PASSWORD", "SASL password", "text")
    kafka_oauth_token_url: str = setting(
        "", "DEEPGUARD_KAFKA_OAUTH_TOKEN_URL",
        "OAUTHBEARER: token endpoint, asked with client id and secret (client credentials)", "an http(s) URL",
        pattern=r"^$|^https?://[^\s@]+$",
    )
    kafka_oauth_client_id: str = setting("", "DEEPGUARD_KAFKA_OAUTH_CLIENT_ID", "OAUTHBEARER: client id", "text")
    kafka_oauth_client_secret: SecretStr = setting(
        SecretStr(""), "DEEPGUARD_KAFKA_OAUTH_CLIENT_SECRET", "OAUTHBEARER: client secret", "text"
    )
    kafka_oauth_scope: str = setting("", "DEEPGUARD_KAFKA_OAUTH_SCOPE", "OAUTHBEARER: scope of the token", "text")
    kafka_oauth_token_file: Path | None = setting(
        None, "DEEPGUARD_KAFKA_OAUTH_TOKEN_FILE",
        "OAUTHBEARER: file with a token that another process renews, such as a service account token",
        "a file",
    )
    kafka_oauth_provider: str = setting(
        "", "DEEPGUARD_KAFKA_OAUTH_PROVIDER",
        "OAUTHBEARER: your own function that returns a token, for example for AWS MSK", "module:function",
        pattern=r"^$|^[\w.]+:\w+$",
    )
    kafka_group: str = setting(
        "deepguard", "DEEPGUARD_KAFKA_GROUP", "Consumer group that shares the media topic", _NAME_TEXT, pattern=_NAME
    )
    kafka_instance: str = setting(
        "", "DEEPGUARD_KAFKA_INSTANCE",
        "Static member id in the group, constant over restarts (such as a pod name); empty: dynamic membership",
        _NAME_TEXT, pattern=f"^$|{_NAME}",
    )
    kafka_session_timeout_s: float = setting(
        30.0, "DEEPGUARD_KAFKA_SESSION_TIMEOUT_S",
        "Seconds without a heartbeat after which a consumer's partitions move to others", "1 to 300 seconds",
        ge=1, le=300,
    )
    kafka_idle_s: float = setting(
        30.0, "DEEPGUARD_KAFKA_IDLE_S", "Seconds without a record after which a stream ends", "1 to 86400 seconds",
        ge=1, le=86400,
    )
    kafka_media_topic: str = _topic("media", "DEEPGUARD_KAFKA_MEDIA_TOPIC", "incoming media")
    kafka_verdicts_topic: str = _topic("verdicts", "DEEPGUARD_KAFKA_VERDICTS_TOPIC", "outgoing verdicts")
    kafka_state_topic: str = _topic(
        "stream-state", "DEEPGUARD_KAFKA_STATE_TOPIC", "the latest verdict per stream (compacted)"
    )
    kafka_dlq_topic: str = _topic(
        "media.dlq", "DEEPGUARD_KAFKA_DLQ_TOPIC", "media that could not be analyzed (dead-letter queue)"
    )
    kafka_record_bytes: int = setting(
        8 * 2**20, "DEEPGUARD_KAFKA_RECORD_BYTES", "Largest Kafka record, in bytes", "65536 to 67108864 bytes",
        ge=65536, le=64 * 2**20,
    )
    kafka_claim_urls: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_KAFKA_CLAIM_URLS",
        "Allowed prefixes of `ce_dataref`, the URL of a payload outside of Kafka; empty: none is fetched",
        "http(s)://host[:port]/path, host may begin with *. , comma separated",
    )
    kafka_claim_private: bool = setting(
        False, "DEEPGUARD_KAFKA_CLAIM_PRIVATE", "Allow `ce_dataref` URLs at non-public addresses", BOOLEAN
    )

    @field_validator("kafka_bootstrap", "kafka_claim_urls", mode="before")
    @classmethod
    def _split_kafka_lists(cls, value: Any) -> Any:
        return split(value)

    @field_validator("kafka_claim_urls")
    @classmethod
    def _are_prefixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            scheme, _, rest = url.partition("://")
            rest = rest.removeprefix("*.")
            if scheme not in ("http", "https") or not rest or "*" in rest:
                raise ValueError(url)
        return value

    @field_validator("kafka_bootstrap")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            host, _, port = address.rpartition(":")
            if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise ValueError(address)
        return value
