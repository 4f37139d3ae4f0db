"""Connection options of aiokafka's clients: TLS, login and fetch limits."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from consumers.errors import BrokerRefused
from consumers.kafka import aiokafka_patches  # noqa: F401 - applies them
from consumers.kafka.config import SaslMechanism
from consumers.kafka.oauth_tokens import token_provider

if TYPE_CHECKING:
    from consumers.kafka.config import KafkaConfig

FETCH_WAIT_MS = 200


def connection_options(config: KafkaConfig) -> dict[str, Any]:
    """Returns the options that all aiokafka clients share.

    Raises BrokerRefused for unreadable certificates, and for a token provider that cannot be imported.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap,
        "client_id": config.client_id,
        "security_protocol": str(config.security),
    }
    if config.security.has_tls:
        options["ssl_context"] = _tls(config)
    if config.security.has_login:
        options |= {"sasl_mechanism": str(config.mechanism), **_login(config)}
    return options


def _login(config: KafkaConfig) -> dict[str, Any]:
    if config.mechanism is SaslMechanism.OAUTHBEARER:
        return {"sasl_oauth_token_provider": token_provider(config.oauth)}
    return {"sasl_plain_username": config.username, "sasl_plain_password": config.password}


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
