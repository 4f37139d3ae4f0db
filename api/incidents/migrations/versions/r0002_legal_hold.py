"""Legal hold of incidents, and indexes to find what is kept about a participant or a call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("incidents_by_participant", "incidents", ["participant_id"])
    op.create_index("incidents_by_call", "incidents", ["call_id"])


def downgrade() -> None:
    op.drop_index("incidents_by_call", "incidents")
    op.drop_index("incidents_by_participant", "incidents")
    op.drop_column("incidents", "held")
