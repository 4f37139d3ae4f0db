"""Faults of the incident database, made in the real database: locked, read-only, full, gone, slow."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgres import LocalPostgres

    Fault = Callable[[], AbstractContextManager[None]]


class SqliteFaults:
    """Faults of the SQLite file at `path`, which the service opens through `engine`."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process holds the write lock."""
        with sqlite3.connect(self._path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        with self._on_every_connection("PRAGMA query_only = ON", "PRAGMA query_only = OFF"):
            yield

    @contextmanager
    def full(self) -> Iterator[None]:
        """The file may not grow, and no page in it is free."""
        with sqlite3.connect(self._path, isolation_level=None) as other:
            other.execute("VACUUM")
            (pages,) = other.execute("PRAGMA page_count").fetchone()
        with self._on_every_connection(f"PRAGMA max_page_count = {pages}", "PRAGMA max_page_count = 1073741823"):
            yield

    @contextmanager
    def gone(self) -> Iterator[None]:
        """The folder was unmounted."""
        folder = self._path.parent
        away = folder.with_name("away")
        self._engine.dispose()
        folder.rename(away)
        try:
            yield
        finally:
            self._engine.dispose()
            away.rename(folder)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """The disk takes 0.5 s for each step of a statement."""
        is_slow = threading.Event()
        is_slow.set()

        def step() -> int:
            time.sleep(0.5 if is_slow.is_set() else 0)
            return 0

        def prepare(connection: sqlite3.Connection, *_: object) -> None:
            connection.set_progress_handler(step, 1)

        event.listen(self._engine, "checkout", prepare)
        try:
            yield
        finally:
            is_slow.clear()
            event.remove(self._engine, "checkout", prepare)

    @contextmanager
    def _on_every_connection(self, before: str, after: str) -> Iterator[None]:
        def prepare(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute(before)

        def restore(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute(after)

        event.listen(self._engine, "checkout", prepare)
        try:
            yield
        finally:
            event.remove(self._engine, "checkout", prepare)
            event.listen(self._engine, "checkout", restore)


class PostgresFaults:
    """Faults of a database of `server`."""

    def __init__(self, server: LocalPostgres, url: str) -> None:
        self._server = server
        self._url = url

    @contextmanager
    def locked(self) -> Iterator[None]:
        with psycopg.connect(self._url) as other:
            other.execute("LOCK TABLE incidents IN ACCESS EXCLUSIVE MODE")
            yield
            other.rollback()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        self._change("ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            yield
        finally:
            self._change("ALTER DATABASE {name} RESET default_transaction_read_only")

    @contextmanager
    def full(self) -> Iterator[None]:
        """The server answers each insertion with its code for a full disk."""
        with psycopg.connect(self._url, autocommit=True) as other:
            other.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$"
            )
            for table in ("incidents", "incident_notes"):
                other.execute(f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()")
            try:
                yield
            finally:
                other.execute("DROP FUNCTION refuse CASCADE")

    @contextmanager
    def gone(self) -> Iterator[None]:
        self._server.end()
        try:
            yield
        finally:
            self._server.begin()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """The server keeps its connections and answers nothing."""
        with self._server.frozen():
            yield

    def _change(self, statement: str) -> None:
        """Changes the database and ends all connections, which keep the settings they began with."""
        name = self._url.rpartition("/")[2]
        with psycopg.connect(self._url.removesuffix(name) + "postgres", autocommit=True) as other:
            other.execute(statement.format(name=name))      # type: ignore[arg-type]
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
