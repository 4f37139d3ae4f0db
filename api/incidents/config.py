"""How incidents are kept and told."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumers.webhook import WebhookTarget


@dataclass(frozen=True, slots=True)
class IncidentConfig:
    """`database_url` may hold a password, and is in no repr. Incidents are deleted after `days`."""

    database_url: str = field(repr=False)
    days: int = 30
    targets: tuple[WebhookTarget, ...] = ()
    private_targets: bool = False
