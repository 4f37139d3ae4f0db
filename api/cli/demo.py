"""`deepguard demo`: the service, and a sample call that a second process publishes to it over WebRTC in a loop."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from api.cli.publish import EXIT_HUNG_UP
from api.cli.terminal import run
from api.settings.base import Settings, has_display, load_settings

SAMPLE_CALL = Path(__file__).resolve().parents[1] / "demo_media" / "sample_call.mp4"
STREAM = "sample-call"

_READY_S = 90.0
_END_S = 20.0
_CHECK_S = 0.2
_TRIES = 3
_PR_SET_PDEATHSIG = 1

Process = subprocess.Popen[bytes]


def demo(
    *,
    url: Annotated[
        str | None, typer.Option(help="URL of a running service to publish to, instead of starting one.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port of the service; overrides PORT.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the dashboard.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds after which the demo ends; without it, Ctrl-C ends it.")
    ] = None,
) -> None:
    """Starts the service, a sample call and the dashboard. The call is published over WebRTC."""
    run(lambda: _run_demo(url, load_settings(port=port), opens_browser=not no_browser, seconds=seconds))


def _run_demo(url: str | None, settings: Settings, *, opens_browser: bool, seconds: float | None) -> None:
    """Runs until Ctrl-C or SIGTERM, and leaves no process behind. Raises SystemExit if a part fails."""
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(_signals_set(stop))
        service_url = (url or _url_of(settings)).rstrip("/")
        service = None
        if url is None:
            command = [sys.executable, "-m", "api.cli", "serve", "--port", str(settings.port)]
            service = stack.enter_context(_child(command, "the service"))
        if not _wait_until_ready(service_url, service, stop):
            return
        publisher = _Publisher(service_url, settings)
        stack.callback(publisher.end)
        typer.echo(f"\n  Watch the sample call at {service_url}/\n  From second 15 to 30 of each round its face is "
                   "swapped. Press Ctrl-C to end the demo.\n")
        if opens_browser and has_display():
            webbrowser.open(f"{service_url}/")
        _watch(publisher, service, stop, seconds)


class _Publisher:
    """The process that publishes the sample call; restarted a few times if it cannot connect."""

    def __init__(self, url: str, settings: Settings) -> None:
        whip_url = f"{url}/whip/{STREAM}"
        self._command = [
            sys.executable, "-m", "api.cli", "publish", str(SAMPLE_CALL), whip_url, "--sample", "--key-stdin",
        ]
        self._key = settings.api_keys[0].get_secret_value() if settings.api_keys else ""
        self._tries = 0
        self._process: Process | None = self._start()

    def check(self) -> None:
        """Restarts the process if it failed. Raises SystemExit after too many failures."""
        status = self._process.poll() if self._process is not None else None
        if status is None:
            return
        self._process = None
        if status == EXIT_HUNG_UP:
            typer.echo("  The sample call was stopped. Press Ctrl-C to end the demo.")
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


def _url_of(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _wait_until_ready(url: str, service: Process | None, stop: threading.Event) -> bool:
    """Returns False if the wait was interrupted. Raises SystemExit if the service ends or is not ready in time."""
    import httpx

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
    """Ctrl-C and SIGTERM set `stop` instead of interrupting the program."""
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
    """Starts a process in a session of its own: a Ctrl-C in the terminal reaches this process alone, which then ends
    its children in order. On Linux they also end if this process is killed."""
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
        typer.echo(f"{name} did not end within {_END_S:g} s and was killed", err=True)
        process.kill()
        process.wait()
