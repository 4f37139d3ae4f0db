"""What a consumer of media needs to know. Frozen values; nothing here reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumers.url_allowlist import ClaimConfig
from stream.config import StreamConfig


@dataclass(frozen=True, slots=True)
class Topics:
    """All but the dead letters have the same number of partitions."""

    media: str = "media"
    verdicts: str = "verdicts"
    states: str = "stream-state"
    dead_letters: str = "media.dlq"


@dataclass(frozen=True, slots=True)
class ConsumeConfig:
    """Of one stream, at most `in_hand` records are in the workers' hands; reading of a partition rests while it holds
    more than `held_bytes` or `held_records`. A stream is over after `idle_s` without a record. What may yet be fetched
    is given up after `transient_s`. Media that leads to no verdict is read again for at most `replay_s`, which is more
    than a window."""

    topics: Topics = field(default_factory=Topics)
    group: str = "deepguard"
    streams: StreamConfig = field(default_factory=StreamConfig)
    in_hand: int = 32
    unit_bytes: int = 4 * 2**20
    held_bytes: int = 16 * 2**20
    held_records: int = 512
    idle_s: float = 30.0
    claims: ClaimConfig = field(default_factory=ClaimConfig)
    transient_s: float = 30.0
    replay_s: float = 120.0
    commit_every_s: float = 0.5
    batch: int = 128
    longest_backoff_s: float = 5.0
