"""Child processes of a benchmark: the service under test, the consumer, the publishers. They end with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import httpx
import msgspec

from api.bench import publisher_messages
from api.bench.publisher_messages import CallLost, CallRefused, CallSent, CallStarted
from api.errors import BenchFailed
from api.settings.base import child_environment
from consumers.config import Topics
from stream.process_sandbox import die_with

READY_S = 60.0
_END_S = 20.0
_CHECK_S = 0.1
_LINE_BYTES = 16 * 2**20        # one line lists the send time of every frame of a call
_LOG_TAIL_BYTES = 2000


class Service(NamedTuple):
    """A running `deepguard serve`."""

    pid: int
    url: str

    @property
    def websocket_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/ws"


@asynccontextmanager
async def serving(**settings: str) -> AsyncIterator[Service]:
    """Runs a service for the block, on a free port of loopback or of `HOST`, without limits on calls.

    Raises BenchFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DEEPGUARD_DATABASE_URL": f"sqlite:///{folder}/incidents.sqlite", **settings}
        async with _serving(settings) as service:
            yield service


@asynccontextmanager
async def _serving(settings: dict[str, str]) -> AsyncIterator[Service]:
    port = _free_port()
    values = {
        "HOST": "127.0.0.1", "PORT": str(port), "LOG_DIR": "", "LOG_LEVEL": "WARNING", "DEEPGUARD_API_KEYS": "",
        "DEEPGUARD_OFFER_RATE": "100000", "DEEPGUARD_MAX_STREAMS": "1000", **settings,
    }
    environment = child_environment(**values)
    with tempfile.TemporaryFile() as log:
        process = await _spawn("api.cli", "serve", env=environment, stderr=log, stdout=log)
        try:
            url = f"http://{values['HOST']}:{port}"
            await _until_ready(url, process, log)
            yield Service(process.pid, url)
        finally:
            await _end(process)


@asynccontextmanager
async def consuming(topics: Topics) -> AsyncIterator[int]:
    """Runs `deepguard consume` on these topics in its own group; yields its pid."""
    environment = child_environment(
        LOG_DIR="", LOG_LEVEL="WARNING", DEEPGUARD_KAFKA_GROUP=topics.media, DEEPGUARD_ADAPTIVE="false",
        DEEPGUARD_KAFKA_MEDIA_TOPIC=topics.media, DEEPGUARD_KAFKA_VERDICTS_TOPIC=topics.verdicts,
        DEEPGUARD_KAFKA_STATE_TOPIC=topics.states, DEEPGUARD_KAFKA_DLQ_TOPIC=topics.dead_letters,
    )
    process = await _spawn("api.cli", "consume", env=environment)
    try:
        yield process.pid
    finally:
        await _end(process)


class Publishers:
    """Publisher processes and their messages.

    `lost`: calls that failed or were cut off, by stream. `refused`: every 503 refusal.
    """

    def __init__(self) -> None:
        self.sending: dict[str, float] = {}
        self.refused: list[CallRefused] = []
        self.lost: dict[str, CallLost] = {}
        self.sent: dict[str, CallSent] = {}
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._processes)

    async def start(self, whip_url: str, clip: Path, prefix: str, calls: int) -> None:
        process = await _spawn(
            "api.bench.publishers", whip_url, str(clip), "--prefix", prefix, "--calls", str(calls),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES,
        )
        self._processes.append(process)
        self._readers.append(asyncio.create_task(self._read(process)))

    async def stop(self) -> None:
        """Ends all calls and collects their statistics. Idempotent. Raises BenchFailed if a process died."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        statuses = await asyncio.gather(*(_ended(process, _END_S) for process in self._processes))
        await asyncio.gather(*self._readers)
        self._processes, self._readers = [], []
        if any(statuses):
            raise BenchFailed(f"publishers ended with status {statuses}")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                report = publisher_messages.decode(line)
            except msgspec.DecodeError as error:
                raise BenchFailed(f"invalid message of a publisher: {line[:100]!r} ({error})") from error
            match report:
                case CallStarted(stream, at_s):
                    self.sending[stream] = at_s
                case CallRefused():
                    self.refused.append(report)
                case CallLost():
                    self.lost[report.stream] = report
                case CallSent():
                    self.sent[report.stream] = report


async def run_json(module: str, *arguments: str, timeout_s: float) -> bytes:
    """Runs a module to its end and returns its standard output. Raises BenchFailed."""
    with tempfile.TemporaryFile() as log:
        process = await _spawn(module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=log)
        try:
            async with asyncio.timeout(timeout_s):
                out, _ = await process.communicate()
        except TimeoutError:
            raise BenchFailed(f"{module} took more than {timeout_s:g} s") from None
        finally:
            await _end(process)
        if process.returncode:
            raise BenchFailed(f"{module} ended with status {process.returncode}: {_tail(log)}")
    return out


async def _spawn(module: str, *arguments: str, **options: object) -> asyncio.subprocess.Process:
    """Starts a module in its own session: Ctrl-C reaches only the benchmark, which then ends its children in order."""
    before = partial(die_with, os.getpid()) if sys.platform == "linux" else None
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, start_new_session=True, preexec_fn=before,
        **{"stdin": asyncio.subprocess.DEVNULL, **options},     # type: ignore[arg-type]
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        await _ended(process, _END_S)


async def _ended(process: asyncio.subprocess.Process, within_s: float) -> int:
    """Waits for a process to end and returns its status; kills it after `within_s`."""
    try:
        async with asyncio.timeout(within_s):
            return await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        return await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Process.send_signal polls first, which can steal the exit status from asyncio's child watcher.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


async def _until_ready(url: str, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
    end_s = time.monotonic() + READY_S
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while time.monotonic() < end_s:
            if process.returncode is not None:
                raise BenchFailed(f"the service ended with status {process.returncode}: {_tail(log)}")
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.get(f"{url}/readyz")
                if answer.status_code == 200:
                    return
            await asyncio.sleep(_CHECK_S)
    raise BenchFailed(f"the service was not ready after {READY_S:g} s: {_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
    return log.read().decode(errors="replace").strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
