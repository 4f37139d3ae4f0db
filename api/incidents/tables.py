"""Database tables of incidents and webhooks. Times are Unix seconds; names with `pts_s` are media seconds."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

_Id = BigInteger().with_variant(Integer, "sqlite")      # SQLite auto-increments INTEGER columns only

incidents = Table(
    "incidents", metadata,
    Column("id", String(40), primary_key=True),
    Column("stream", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sample", Boolean, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("participant_id", Text, nullable=False),
    Column("opened_s", Double, nullable=False),
    Column("pts_s", Double, nullable=False),
    Column("closed_s", Double),
    Column("closed_pts_s", Double),
    Column("close_reason", String(40)),
    Column("tracks", JSON, nullable=False),
    Column("prob_fake", Double),
    Column("suspicion", Double, nullable=False),
    Column("model", JSON),
    Column("rules_sha256", String(64), nullable=False),
    Column("review", String(20), nullable=False),
    Column("reviewed_by", Text),
    Column("reviewed_s", Double),
    Column("held", Boolean, nullable=False, server_default=false()),     # legal hold: neither erased nor expired
    Column("owner", String(40), nullable=False),        # process that holds the lease
    Column("seen_s", Double, nullable=False),           # last lease renewal
    Index("incidents_by_time", "opened_s", "id"),
    Index("incidents_by_stream", "stream", "epoch"),
    Index("incidents_by_participant", "participant_id"),
    Index("incidents_by_call", "call_id"),
)

notes = Table(
    "incident_notes", metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("incident_id", String(40), ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at_s", Double, nullable=False),
    Column("by", Text, nullable=False),
    Column("decision", String(20), nullable=False),
    Column("text", Text, nullable=False),
)

files = Table(
    "incident_files", metadata,
    Column("incident_id", String(40), ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("media_type", String(100), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

deliveries = Table(
    "webhook_deliveries", metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("message_id", String(100), nullable=False),
    Column("target", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_s", Double, nullable=False),
    Column("due_s", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("is_dead", Boolean, nullable=False),
    UniqueConstraint("message_id", "target", name="one_delivery_per_target"),
    Index("deliveries_by_time", "target", "is_dead", "due_s"),
)

secrets = Table(
    "secrets", metadata,
    Column("name", String(40), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
