"""`deepguard demo`: the service, and a sample call that a process of its own publishes to it over WebRTC, in a loop."""

from __future__ import annotations

import argparse
import ctypes
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import typer

from api.settings.base import Settings, has_display, load_settings

SAMPLE_CALL = Path(__file__).resolve().parents[1] / "demo_media" / "sample_call.mp4"
STREAM = "sample-call"

_READY_S = 90.0
_END_S = 20.0
_CHECK_S = 0.2
_TRIES = 3
_STOPPED_BY_SERVER = 3      # exit status of api.clients.whip
_PR_SET_PDEATHSIG = 1

Process = subprocess.Popen[bytes]


class DemoOptions(NamedTuple):
    """`url`: a service that is running already. `seconds` None runs until Ctrl-C."""

    url: str | None
    port: int | None
    browser: bool
    seconds: float | None


def run_demo(arguments: Sequence[str]) -> None:
    """Runs until Ctrl-C or SIGTERM; no process is left then. Raises SettingsRefused; SystemExit if a part fails."""
    options = _parse(arguments)
    settings = load_settings(port=options.port)
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(_signals_set(stop))
        url = (options.url or _url_of(settings)).rstrip("/")
        service = None
        if options.url is None:
            command = [sys.executable, "-m", "api.cli", "serve", "--port", str(settings.port)]
            service = stack.enter_context(_child(command, "the service"))
        if not _wait_until_ready(url, service, stop):
            return
        publisher = _Publisher(url, settings)
        stack.callback(publisher.end)
        typer.echo(f"\n  A sample call is being judged: {url}/\n  Its face is another one from second 15 to 30 of "
                   "each round. Ctrl-C ends the demo.\n")
        if options.browser and has_display():
            webbrowser.open(f"{url}/")
        _watch(publisher, service, stop, options.seconds)


class _Publisher:
    """The process that publishes the sample call; started again a few times if it cannot connect."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._command = [
            sys.executable,
            "-m",
            "api.clients.whip",
            f"{url}/whip/{STREAM}",
            str(SAMPLE_CALL),
            "--sample",
            "--token-stdin",
        ]
        self._key = settings.api_keys[0].get_secret_value() if settings.api_keys else ""
        self._tries = 0
        self._process: Process | None = self._start()

    def check(self) -> None:
        """Looks after the process. Raises SystemExit if it fails again and again."""
        status = self._process.poll() if self._process is not None else None
        if status is None:
            return
        self._process = None
        if status == _STOPPED_BY_SERVER:
            typer.echo("  The sample call was stopped. Ctrl-C ends the demo.")
        elif self._tries < _TRIES:
            self._process = self._start()
        else:
            raise SystemExit(f"the sample call cannot be published (status {status})")

    def end(self) -> None:
        if self._process is not None:
            _end(self._process, "the publisher")

    def _start(self) -> Process:
        self._tries += 1
        process = _spawn(self._command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(f"{self._key}\n".encode())
        process.stdin.close()
        return process


def _parse(arguments: Sequence[str]) -> DemoOptions:
    parser = argparse.ArgumentParser("deepguard demo", description="run the service with a sample call")
    parser.add_argument("--url", help="publish to this running service instead of starting one")
    parser.add_argument("--port", type=int, help="as PORT")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument("--seconds", type=float, help="end by itself after this time")
    given = parser.parse_args(arguments)
    return DemoOptions(given.url, given.port, not given.no_browser, given.seconds)


def _url_of(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _wait_until_ready(url: str, service: Process | None, stop: threading.Event) -> bool:
    """False if the wait was interrupted. Raises SystemExit if the service ends or takes too long."""
    end_s = time.monotonic() + _READY_S
    with httpx.Client(timeout=2, trust_env=False) as client:
        while not stop.wait(_CHECK_S):
            if service is not None and service.poll() is not None:
                raise SystemExit(service.returncode or 1)
            try:
                if client.get(f"{url}/readyz").status_code == 200:
                    return True
            except httpx.HTTPError:
                pass
            if time.monotonic() > end_s:
                raise SystemExit(f"{url} was not ready after {_READY_S:g} s")
    return False


def _watch(publisher: _Publisher, service: Process | None, stop: threading.Event, seconds: float | None) -> None:
    end_s = time.monotonic() + (seconds if seconds is not None else float("inf"))
    while not stop.wait(_CHECK_S) and time.monotonic() < end_s:
        if service is not None and service.poll() is not None:
            raise SystemExit(service.returncode or 1)
        publisher.check()


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop` instead of interrupting whatever runs."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _child(command: list[str], name: str) -> Iterator[Process]:
    process = _spawn(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        _end(process, name)


def _spawn(command: list[str], stdin: int) -> Process:
    """In a session of its own, so that a Ctrl-C in the terminal reaches this process alone, which ends the others in
    order; on Linux they also end if this process is killed."""
    before = _die_with_parent if sys.platform == "linux" else None
    return subprocess.Popen(command, stdin=stdin, start_new_session=True, preexec_fn=before)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: Process, name: str) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        typer.echo(f"{name} does not end; it is killed", err=True)
        process.kill()
        process.wait()
