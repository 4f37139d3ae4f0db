"""Settings of incidents and webhooks. Part of `api.settings.base`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from api.errors import SettingsRefused
from api.settings.field import BOOLEAN, setting, split

DEFAULT_DATABASE = "sqlite:///data/incidents.sqlite"
KEY_BYTES = 32              # of AES-256
_SECRET_BYTES = (24, 64)        # as Standard Webhooks requires


class IncidentSettings(BaseSettings):
    """Incident storage."""

    database_url: SecretStr = setting(
        SecretStr(DEFAULT_DATABASE), "DEEPGUARD_DATABASE_URL",
        f"Database of incidents and their evidence; empty: `{DEFAULT_DATABASE}`",
        "sqlite:///path or postgresql://user:password@host/name",
    )
    incident_days: int = setting(
        30, "DEEPGUARD_INCIDENT_DAYS", "Days after which closed incidents are deleted with their evidence",
        "1 to 3650 days", ge=1, le=3650,
    )
    evidence_keys: Annotated[tuple[SecretStr, ...], NoDecode] = setting(
        (), "DEEPGUARD_EVIDENCE_KEYS",
        "Keys that encrypt the evidence of incidents in the database: the first encrypts, all decrypt; empty: none",
        f"base64 of {KEY_BYTES} bytes each, comma separated",
    )

    @property
    def decoded_evidence_keys(self) -> tuple[bytes, ...]:
        """Returns the keys as bytes."""
        return tuple(base64.b64decode(key.get_secret_value()) for key in self.evidence_keys)

    @field_validator("evidence_keys", mode="before")
    @classmethod
    def _split_evidence_keys(cls, value: Any) -> Any:
        return split(value)

    @field_validator("evidence_keys")
    @classmethod
    def _are_evidence_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            try:
                size = len(base64.b64decode(key.get_secret_value(), validate=True))
            except (binascii.Error, ValueError):
                size = 0
            if size != KEY_BYTES:
                raise ValueError("a key")
        return value


class WebhookSettings(BaseSettings):
    """Webhooks that report incidents."""

    webhook_urls: Annotated[tuple[str, ...], NoDecode] = setting(
        (), "DEEPGUARD_WEBHOOK_URLS", "URLs that receive incident events", "http(s) URLs, comma separated"
    )
    webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = setting(
        (), "DEEPGUARD_WEBHOOK_SECRETS", "Signing secrets: one for all URLs, or one for each",
        f"whsec_ and base64 of {_SECRET_BYTES[0]} to {_SECRET_BYTES[1]} bytes, comma separated",
    )
    webhook_private: bool = setting(
        False, "DEEPGUARD_WEBHOOK_PRIVATE", "Allow webhooks to private addresses and without TLS", BOOLEAN
    )

    @property
    def signed_webhooks(self) -> tuple[tuple[str, str], ...]:
        """Returns each URL with its secret."""
        secrets = [secret.get_secret_value() for secret in self.webhook_secrets]
        if len(secrets) == 1:
            secrets *= len(self.webhook_urls)
        return tuple(zip(self.webhook_urls, secrets, strict=True))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        urls, secrets = len(self.webhook_urls), len(self.webhook_secrets)
        if urls and secrets not in (1, urls):
            raise SettingsRefused(
                f"DEEPGUARD_WEBHOOK_SECRETS: expected one secret, or one for each of {urls} URLs, got {secrets}"
            )
        if not self.webhook_private and any(urlsplit(url).scheme != "https" for url in self.webhook_urls):
            raise SettingsRefused("DEEPGUARD_WEBHOOK_URLS: expected https; DEEPGUARD_WEBHOOK_PRIVATE=1 allows http")
        return self

    @field_validator("webhook_urls", "webhook_secrets", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return split(value)

    @field_validator("webhook_urls")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
                raise ValueError(url)
        if len(set(value)) != len(value):
            raise ValueError("a URL twice")
        return value

    @field_validator("webhook_secrets")
    @classmethod
    def _are_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        least, most = _SECRET_BYTES
        for secret in value:
            prefix, _, encoded = secret.get_secret_value().partition("_")
            try:
                size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
            except binascii.Error:
                size = 0
            if prefix != "whsec" or not least <= size <= most:
                raise ValueError("a secret")
        return value
