"""Incidents, their notes and files, webhook deliveries, and the key that signs URLs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_incidents()
    _create_what_belongs_to_them()
    _create_deliveries()
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("secrets", "webhook_deliveries", "incident_files", "incident_notes", "incidents"):
        op.drop_table(table)


def _create_incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("sample", sa.Boolean, nullable=False),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("participant_id", sa.Text, nullable=False),
        sa.Column("opened_s", sa.Double, nullable=False),
        sa.Column("pts_s", sa.Double, nullable=False),
        sa.Column("closed_s", sa.Double),
        sa.Column("closed_pts_s", sa.Double),
        sa.Column("close_reason", sa.String(40)),
        sa.Column("tracks", sa.JSON, nullable=False),
        sa.Column("prob_fake", sa.Double),
        sa.Column("suspicion", sa.Double, nullable=False),
        sa.Column("model", sa.JSON),
        sa.Column("rules_sha256", sa.String(64), nullable=False),
        sa.Column("review", sa.String(20), nullable=False),
        sa.Column("reviewed_by", sa.Text),
        sa.Column("reviewed_s", sa.Double),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("seen_s", sa.Double, nullable=False),
    )
    op.create_index("incidents_by_time", "incidents", ["opened_s", "id"])
    op.create_index("incidents_by_stream", "incidents", ["stream", "epoch"])


def _create_what_belongs_to_them() -> None:
    op.create_table(
        "incident_notes",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("incident_id", sa.String(40), sa.ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("ix_incident_notes_incident_id", "incident_notes", ["incident_id"])
    op.create_table(
        "incident_files",
        sa.Column("incident_id", sa.String(40), sa.ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("message_id", sa.String(100), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("due_s", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("is_dead", sa.Boolean, nullable=False),
        sa.UniqueConstraint("message_id", "target", name="one_delivery_per_target"),
    )
    op.create_index("deliveries_by_time", "webhook_deliveries", ["target", "is_dead", "due_s"])
