"""Configuration of incident storage and webhooks."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.incidents.webhook_sender import WebhookTarget
from api.settings.base import Settings


@dataclass(frozen=True, slots=True)
class IncidentConfig:
    """Incident configuration. `database_url` may hold a password and is not in the repr.

    Closed incidents are deleted after `days`. `private_targets` allows webhooks to non-public addresses.
    """

    database_url: str = field(repr=False)
    days: int = 30
    targets: tuple[WebhookTarget, ...] = ()
    private_targets: bool = False


def incident_config(settings: Settings) -> IncidentConfig:
    """Returns the incident configuration of these settings."""
    return IncidentConfig(
        database_url=settings.database_url.get_secret_value(),
        days=settings.incident_days,
        targets=tuple(WebhookTarget(url, secret) for url, secret in settings.signed_webhooks),
        private_targets=settings.webhook_private,
    )
