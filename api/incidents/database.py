"""Incident database: a SQLite file or PostgreSQL. Blocking; call it from threads only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError,
)

from api.errors import SettingsRefused, StorageUnavailable

_MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_MIGRATION_LOCK = 0x6465657067756172     # PostgreSQL advisory lock: one process at a time migrates the schema
_EXPECTED = (
    "expected sqlite:///path or postgresql://user:password@host/name; "
    "write @, : and / in a password as %40, %3A and %2F"
)
# How long a transaction waits for a lock, for a connection of the pool, or for the server.
WAIT_S = 5
_POSTGRES_TIMEOUTS = f"-c lock_timeout={WAIT_S}s -c statement_timeout={2 * WAIT_S}s"
# Errors of one statement or of its values, not of the database.
_OWN_ERRORS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


class Database:
    """Transactions on one database. Thread-safe.

    `fault` names the driver's error while the last transaction for reading or for writing failed, else it is empty.
    """

    def __init__(self, url: str) -> None:
        """Connects and brings the schema up to date. Raises SettingsRefused."""
        try:
            self._engine = _engine_of(url)
        except (ArgumentError, OSError, ModuleNotFoundError) as error:
            raise SettingsRefused(f"DEEPGUARD_DATABASE_URL: {_first_line(error)}") from None
        self._faults = {"read": "", "write": ""}
        try:
            migrate(self._engine)
        except (SQLAlchemyError, CommandError) as error:
            self.close()
            raise SettingsRefused(f"DEEPGUARD_DATABASE_URL: cannot use the database: {_first_line(error)}") from None

    @property
    def fault(self) -> str:
        return self._faults["write"] or self._faults["read"]

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Opens a read-only transaction. Raises StorageUnavailable."""
        with self._watched("read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Opens a durable write transaction; commits at the end of the block, rolls back on an exception.

        Raises StorageUnavailable.
        """
        with self._watched("write"), self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def forget_deleted(self) -> None:
        """Removes deleted content from SQLite's write-ahead log, which holds older pages.

        No-op while another connection reads; SQLite then does it at its next checkpoint.
        """
        if self._engine.dialect.name == "sqlite":
            with self._watched("write"), self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                if driver is not None:
                    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _watched(self, kind: str) -> Iterator[None]:
        """Raises errors of the database as StorageUnavailable, and keeps `fault` up to date."""
        try:
            yield
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            if isinstance(error, _OWN_ERRORS):
                raise
            cause = self._faults[kind] = type(getattr(error, "orig", None) or error).__name__
            raise StorageUnavailable(cause) from error
        self._faults[kind] = ""

    def close(self) -> None:
        self._engine.dispose()


def migrate(engine: Engine) -> None:
    """Upgrades the schema. Raises SQLAlchemyError, and CommandError for the schema of a newer version."""
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
    try:
        parsed = make_url(url)
    except ValueError:
        raise ArgumentError(_EXPECTED) from None
    if "@" in (parsed.host or ""):
        raise ArgumentError(_EXPECTED)      # the driver would show part of the password as the host
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        # The kernel ends a connection whose other side is gone; without, a transaction would wait for many minutes.
        limits = {
            "connect_timeout": WAIT_S, "options": _POSTGRES_TIMEOUTS, "tcp_user_timeout": 2000 * WAIT_S,
            "keepalives_idle": WAIT_S, "keepalives_interval": WAIT_S, "keepalives_count": 2,
        }  # fmt: skip
        return create_engine(parsed, pool_pre_ping=True, pool_timeout=WAIT_S, connect_args=limits)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ArgumentError(_EXPECTED)
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(parsed.database).touch(mode=0o600)     # SQLite creates its WAL files with the same mode
    engine = create_engine(parsed, connect_args={"timeout": WAIT_S}, pool_timeout=WAIT_S)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None       # disables the sqlite3 module's implicit transactions
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # Writers take the lock at once. A deferred transaction that reads and then writes fails with SQLITE_BUSY if another
    # connection wrote in between, and SQLite does not wait in that case.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _first_line(error: Exception) -> str:
    """Returns the first line of the driver's message; never the URL, which may hold a password."""
    if isinstance(error, ModuleNotFoundError):
        return f"this needs the extra `postgres` ({error}): pip install 'deepguard[postgres]'"
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
