"""Configuration of a media consumer: topics, group and limits. Frozen values; reads no environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumers.url_allowlist import ClaimConfig
from stream.config import StreamConfig


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names. All but the dead-letter topic must have the same number of partitions."""

    media: str = "media"
    verdicts: str = "verdicts"
    states: str = "stream-state"
    dead_letters: str = "media.dlq"


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """Limits of a media consumer.

    `units_in_flight`: undecoded records per stream in the worker. `buffered_bytes`, `buffered_records`: per partition;
    above either, reading pauses. `idle_s`: a stream ends after this time without a record. `transient_s`: how long
    failed fetches are retried. `replay_s`: the most media without a verdict that a restart reads again; more than one
    window.
    """

    topics: Topics = field(default_factory=Topics)
    group: str = "deepguard"
    streams: StreamConfig = field(default_factory=StreamConfig)
    units_in_flight: int = 32
    unit_bytes: int = 4 * 2**20
    buffered_bytes: int = 16 * 2**20
    buffered_records: int = 512
    idle_s: float = 30.0
    claims: ClaimConfig = field(default_factory=ClaimConfig)
    transient_s: float = 30.0
    replay_s: float = 120.0
    commit_every_s: float = 0.5
    batch: int = 128
    longest_backoff_s: float = 5.0
