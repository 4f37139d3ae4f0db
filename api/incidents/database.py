"""The database of incidents: SQLite in a file, or PostgreSQL. Everything here blocks; called from threads alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from api.errors import SettingsRefused

_MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_MIGRATION_LOCK = 0x6465657067756172     # of PostgreSQL: one process at a time changes the schema
_BUSY_S = 10


class Database:
    """Transactions on one database. Thread-safe."""

    def __init__(self, url: str) -> None:
        """Connects and brings the schema up to date. Raises SettingsRefused."""
        try:
            self._engine = _engine_of(url)
        except (ArgumentError, OSError, ModuleNotFoundError) as error:
            raise SettingsRefused(f"DEEPGUARD_DATABASE_URL: {_told(error)}") from None
        try:
            migrate(self._engine)
        except (SQLAlchemyError, CommandError) as error:
            self.close()
            raise SettingsRefused(f"DEEPGUARD_DATABASE_URL: the database cannot be used: {_told(error)}") from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed at the end unless an exception leaves it. What is committed survives a crash."""
        with self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._engine.dispose()


def migrate(engine: Engine) -> None:
    """Raises SQLAlchemyError, and CommandError for a database that a newer version has changed."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _engine_of(url: str) -> Engine:
    """Raises ArgumentError, OSError, ModuleNotFoundError."""
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ArgumentError("expected sqlite:///path or postgresql://user:password@host/name")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(parsed.database).touch(mode=0o600)     # what SQLite makes beside it gets the same rights
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None       # Python's own idea of when a transaction begins is not SQLite's
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # One who reads first and writes then would be refused if another wrote in between, instead of waiting.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _told(error: Exception) -> str:
    """The first line, without what SQLAlchemy adds; never the URL, which has a password."""
    if isinstance(error, ModuleNotFoundError):
        return f"this needs the extra `postgres` ({error}): pip install 'deepguard[postgres]'"
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
