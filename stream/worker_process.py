"""Worker process seen from the pool: starts one, reads its messages, and kills it when it hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec
import structlog

from stream.crash_marker import CrashMarker
from stream.errors import ChannelBroken, WorkerLost
from stream.worker_channel import pack, receive
from stream.worker_messages import Hello, Ping, Pong
from stream.worker_pool_config import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.retry_policy import RetryPolicy
    from stream.worker_messages import FromWorker, ToWorker
    from stream.worker_pool_config import PoolConfig

_log = structlog.get_logger(__name__)
_STOP_LIMIT_S = 3.0
_PINGS_PER_HEARTBEAT = 4
_CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


class WorkerProcess:
    """One process of a worker slot. `send` may be called at any time; `serve` runs it to its end."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        crash_marker: CrashMarker,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        config: PoolConfig,
    ) -> None:
        self._process = process
        # asyncio's send_signal polls, which can take the exit status away from asyncio's watcher.
        self._pidfd = os.pidfd_open(process.pid)
        self._crash_marker = crash_marker
        self._hung = False
        self.culprit = ""
        self._reader, self._writer = reader, writer
        self._config = config
        self._heard_s = self._now_s()
        self.hello: Hello | None = None

    @classmethod
    async def spawn(cls, config: PoolConfig) -> WorkerProcess:
        """Starts a process; it is cold until `serve` passes on its Hello. Raises OSError."""
        with ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                crash_marker = CrashMarker.create()
                undo.callback(crash_marker.close)
                reader, writer = await asyncio.open_connection(sock=ours)
                undo.callback(writer.close)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-X", "faulthandler", "-m", "stream.worker_main"),
                    msgspec.json.encode(_settings(config, theirs.fileno(), crash_marker.fd)).decode(),
                    pass_fds=(theirs.fileno(), crash_marker.fd),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env=_environment(config),
                )
            try:
                worker = cls(process, crash_marker, reader, writer, config)
            except ProcessLookupError as error:     # asyncio has already reaped the process
                raise ProcessLookupError(f"exited at once (status {await process.wait()})") from error
            undo.pop_all()
            return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToWorker) -> None:
        """Never blocks: credits bound the queue. Does nothing once the worker has ended."""
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    async def serve(self, handle: Callable[[FromWorker], None]) -> str:
        """Passes on the worker's messages until it is dead; returns the reason.

        If it crashed or hung, `culprit` names the stream or job that it was processing.
        """
        reason = "exited"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                await self._listen(handle)
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass
        except* (ChannelBroken, WorkerLost) as group:
            reason = str(group.exceptions[0])
            self._hung = True
        finally:
            await self._end()
            self._find_culprit()
        return f"{reason} (status {self._process.returncode})"

    async def stop(self) -> None:
        """Asks the process to end; kills it after 3 s."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await self._process.wait()
        except TimeoutError:
            await self._end()

    async def _end(self) -> None:
        self._signal(signal.SIGKILL)
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._process.wait()

    def _find_culprit(self) -> None:
        """Sets the culprit. A worker that was killed from outside has none."""
        if self._hung or self._process.returncode in _CRASHES:
            self.culprit = self._crash_marker.read()
        self._crash_marker.close()
        os.close(self._pidfd)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def _listen(self, handle: Callable[[FromWorker], None]) -> None:
        while True:
            message = await receive(self._reader)
            self._heard_s = self._now_s()
            if isinstance(message, Pong):
                self._check_busy(message)
                continue
            if isinstance(message, Hello):
                self.hello = message
            handle(message)

    async def _watch(self) -> None:
        """Raises WorkerLost when the worker has been silent for too long.

        The limit is `silent_limit_s` for a worker that uses processor time, and `heartbeat_s` for one that uses none
        while pings wait. Time in which this event loop itself did not run does not count.
        """
        tick_s = self._config.heartbeat_s / _PINGS_PER_HEARTBEAT
        idle = _Idleness(self.pid)
        nonce = 0
        while True:
            before_s = self._now_s()
            await asyncio.sleep(tick_s)
            now_s = self._now_s()
            late_s = now_s - before_s - tick_s
            if late_s > tick_s:     # messages that arrived meanwhile are not read yet
                self._heard_s += late_s
                idle.restart(now_s)
                continue
            self._check_silence(now_s, idle.seconds(now_s))
            if self.hello:
                nonce += 1
                self.send(Ping(nonce=nonce))

    def _check_silence(self, now_s: float, idle_s: float) -> None:
        silent_s = now_s - self._heard_s
        limit_s = self._config.silent_limit_s if self.hello else self._config.start_limit_s
        if silent_s > limit_s:
            raise WorkerLost(f"silent for more than {limit_s:.0f} s")
        limit_s = self._config.heartbeat_s
        if self.hello and min(silent_s, idle_s) > limit_s:
            raise WorkerLost(f"used no processor time for more than {limit_s:.1f} s")

    def _check_busy(self, pong: Pong) -> None:
        if pong.busy_s > self._config.busy_limit_s:
            raise WorkerLost(f"stayed in one round of its loop for {pong.busy_s:.0f} s")

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


class _Idleness:
    """Measures how long a process has used no processor time at all.

    A process that waits for a core, or for its memory to be paged in, still gets some processor time within a second.
    One that hangs or is stopped gets none.
    """

    def __init__(self, pid: int) -> None:
        self._clock = (~pid << 3) | 2       # clock_getcpuclockid(3), which Python has for threads only
        self._used_s = self._since_s = 0.0

    def restart(self, now_s: float) -> None:
        self._since_s = now_s

    def seconds(self, now_s: float) -> float:
        """Returns the idle time in seconds; 0 if it cannot be measured."""
        try:
            used_s = time.clock_gettime(self._clock)
        except OSError:
            return 0.0
        if used_s > self._used_s:
            self._used_s, self._since_s = used_s, now_s
        return now_s - self._since_s


class RestartDelays:
    """Delays before the next start of a worker. A worker that dies younger than `soon_s` counts as a failed start."""

    def __init__(self, policy: RetryPolicy, soon_s: float = 5.0) -> None:
        self._policy = policy
        self._soon_s = soon_s
        self._in_a_row = 0

    def after(self, warm_for_s: float | None) -> float:
        """Returns the delay in seconds; `warm_for_s` is how long the last worker was warm, None if it never was."""
        if warm_for_s is not None and warm_for_s >= self._soon_s:
            self._in_a_row = 0
            return 0.0
        self._in_a_row += 1
        failures = self._in_a_row - (warm_for_s is not None)    # the first death after Hello costs no delay
        return self._policy.delay_s(failures) if failures else 0.0


def _settings(config: PoolConfig, socket_fd: int, marker_fd: int) -> WorkerSettings:
    return WorkerSettings(
        socket_fd=socket_fd,
        marker_fd=marker_fd,
        parent_pid=os.getpid(),
        weights_dir=str(config.weights_dir.resolve()) if config.weights_dir else "",
        threads=config.threads,
        preview_width_px=config.preview_width_px,
        blur_faces=config.blur_faces,
        address_space_bytes=config.address_space_bytes,
        max_files=config.max_files,
        limits=config.limits,
    )


def _environment(config: PoolConfig) -> dict[str, str]:
    """Returns the environment of a worker, without keys and addresses of the service."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(config.limits.picture_pixels),
        **dict.fromkeys(_THREAD_VARIABLES, str(config.threads)),
    }
