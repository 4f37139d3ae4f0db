"""PostgreSQL on a free loopback port, run by an unprivileged user, gone with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S, STOP_S = 60.0, 30.0

_INSTALLED = Path("/usr/lib/postgresql")        # where Debian puts it, by version


class LocalPostgres:
    """One server; every `new_database` is empty."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="deepguard-postgres-"))
        self._port = _free_port()
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises AssertionError if it is not installed, or does not come up."""
        os.chmod(self._folder, 0o755)
        if _user() is not None:
            shutil.chown(self._folder, _user())
        data = self._folder / "data"
        initialise = [_program("initdb"), "-D", str(data), "-U", "deepguard", "--auth=trust", "--no-sync", "-E", "UTF8"]
        done = subprocess.run(initialise, user=_user(), capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr
        self.begin()

    def begin(self) -> None:
        """Starts the server on its data."""
        data = self._folder / "data"
        options = {
            "listen_addresses": "127.0.0.1", "port": str(self._port), "unix_socket_directories": "", "fsync": "off"
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log = (self._folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", str(data), *settings], user=_user(), stdout=log, stderr=log, cwd="/"
            )
        self._wait_until_ready()

    def new_database(self) -> str:
        """Its URL."""
        name = f"incidents_{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")      # type: ignore[arg-type]
        return self._url(name)

    def end(self) -> None:
        """Stops the server and keeps its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_S)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops all processes of the server for the block, as an overloaded machine does."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        processes = [*server.children(recursive=True), server]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def stop(self) -> None:
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _url(self, database: str) -> str:
        return f"postgresql://deepguard@127.0.0.1:{self._port}/{database}"

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end_s = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self._url("postgres")).close()
                return
            except psycopg.OperationalError:
                told = (self._folder / "log").read_text(errors="replace")
                assert self._process.poll() is None, told
                assert time.monotonic() < end_s, told
                time.sleep(0.1)


def _program(name: str) -> str:
    versions = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]), reverse=True)
    found = str(versions[0]) if versions else shutil.which(name)
    assert found, f"{name} is missing: install the package 'postgresql' (Debian, Ubuntu), as `make test` does"
    return found


def _user() -> str | None:
    """PostgreSQL does not run as root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
