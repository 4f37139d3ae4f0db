"""Run by alembic: brings the connection that `database.migrate` hands over to the newest schema."""

from __future__ import annotations

from alembic import context

from api.incidents.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
