"""One pulled source: attempts, back-off, and the stream that they all feed."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from api.ingest.live_source import LiveSource
from api.ingest.pull.errors import PullFailed
from stream.stream_session import StreamSpec
from stream.temporal_layers import BASE
from stream.types import Codec, DropCause, EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import Owner
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PullConfig:
    """`silence_s` is for an attempt: to begin, and to go on. `retry_s` after its last media a source is given up."""

    silence_s: float = 10.0
    retry_s: float = 300.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    settled_s: float = 10.0


class PullState(StrEnum):
    """Where a source stands."""

    CONNECTING = "connecting"
    RECEIVING = "receiving"
    RETRYING = "retrying"
    FAILED = "failed"


class Problem(NamedTuple):
    """Why the last attempt failed; without the traceback, which would hold everything that the attempt had."""

    code: str
    message: str
    is_final: bool = False


class PullOrder(NamedTuple):
    """What to fetch, without where. `source` is rtsp, rtmp, hls, http or whep; `host` is for people."""

    stream: str
    source: str
    host: str
    call_id: str = ""
    participant_id: str = ""


class Frames(Protocol):
    """Where an attempt puts what it receives. Called in the event loop; must not block or raise."""

    def take(self, codec: Codec, payload: bytes, pts_s: float, keyframe: bool) -> None:
        """One whole frame, H.264 as Annex-B with its parameter sets in band. Those before a key frame are dropped."""

    def frame(self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer) -> None:
        """As `take`, of the codec that was announced."""

    def announce(self, codec: Codec) -> None:
        """What frames are. Raises PullFailed where the stream has begun with another one."""

    def lost(self) -> None:
        """Media is missing from here on."""


class Attempt(Protocol):
    """One connection to a source."""

    async def run(self, frames: Frames) -> None:
        """Receives until the source says that it is over. Raises PullFailed. Cancelling ends it."""

    def request_keyframe(self) -> None: ...


class Waits:
    """How long to wait before the next attempt: 1, 2, 4, … 30 s, and up to half as much more."""

    def __init__(self, config: PullConfig) -> None:
        self._config = config
        self._in_a_row = 0

    def after(self, received_for_s: float) -> float:
        """Seconds; `received_for_s` is for how long the attempt that failed had brought media."""
        config = self._config
        if received_for_s >= config.settled_s:
            self._in_a_row = 0
        wait_s = min(config.longest_wait_s, config.first_wait_s * 2.0**min(self._in_a_row, 16))
        self._in_a_row += 1
        return wait_s * random.uniform(1.0, 1.5)


class Pull(LiveSource):
    """From the order to the end of the source. Takes the frames of all attempts."""

    def __init__(self, order: PullOrder, attempt: Attempt, config: PullConfig, owner: Owner) -> None:
        super().__init__(order.stream, owner)
        self.order = order
        self.state = PullState.CONNECTING
        self.problem: Problem | None = None
        self.attempts = 0
        self.next_s: float | None = None
        self._attempt = attempt
        self._config = config
        self._codec: Codec | None = None
        self._heard_s = self._first_s = self._attempt_s = self.created_s
        self._needs_keyframe = True
        self._task: asyncio.Task[None] | None = None

    @property
    def spec(self) -> StreamSpec:
        order = self.order
        if self._codec is None:
            raise RuntimeError("a frame before its codec was announced")
        return StreamSpec(
            stream=order.stream, source=order.source, codec=self._codec, call_id=order.call_id,
            participant_id=order.participant_id,
        )

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def overdue(self, now_s: float) -> EndReason | None:
        """Never by itself: silence ends the attempt, and the attempts end by themselves."""
        return None

    def request_keyframe(self) -> None:
        if self.state is PullState.RECEIVING:
            self._attempt.request_keyframe()

    def announce(self, codec: Codec) -> None:
        if self._codec not in (None, codec):
            raise PullFailed("unsupported_codec", f"the source changed from {self._codec} to {codec}", is_final=True)
        self._codec = codec

    def take(self, codec: Codec, payload: bytes, pts_s: float, keyframe: bool) -> None:
        self.announce(codec)
        self.frame(payload, pts_s, keyframe, 0.0)

    def frame(self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer = BASE) -> None:
        self._heard_s = time.monotonic()
        if self.state is not PullState.RECEIVING:
            self.state, self.problem, self._first_s = PullState.RECEIVING, None, self._heard_s
        if self._needs_keyframe and not keyframe:
            return
        self._needs_keyframe = False
        super().frame(payload, pts_s, keyframe, age_s, layer)

    async def _run(self) -> None:
        """Attempts until the source ends, or is given up."""
        waits = Waits(self._config)
        while True:
            failed = await self._try()
            if failed is None:
                self.end_soon(EndReason.END_OF_MEDIA)
                return
            self.problem = failed
            received_s = self._heard_s - self._first_s if self.state is PullState.RECEIVING else 0.0
            wait_s = waits.after(received_s)
            self._gap(DropCause.SOURCE_LOST)
            log.warning("source lost", stream=self.stream, code=failed.code, attempt=self.attempts)
            if failed.is_final or time.monotonic() + wait_s - self._heard_s > self._config.retry_s:
                self.state = PullState.FAILED
                self.end_soon(EndReason.FAILED, f"{failed.code}: {failed.message}")
                return
            self.state, self.next_s = PullState.RETRYING, time.monotonic() + wait_s
            await asyncio.sleep(wait_s)
            self.state, self.next_s = PullState.CONNECTING, None

    async def _try(self) -> Problem | None:
        """One attempt; None when the source came to its end."""
        self.attempts += 1
        self._needs_keyframe = True
        self._attempt_s = time.monotonic()
        watch = asyncio.get_running_loop().create_task(self._silence())
        attempt = asyncio.get_running_loop().create_task(self._attempt.run(self))
        try:
            await asyncio.wait((watch, attempt), return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                return Problem("timeout", f"no media for {self._config.silence_s:g} s")
            attempt.result()
        except PullFailed as failed:
            return Problem(failed.code, failed.message, failed.is_final)
        except Exception as error:      # outermost frame of an attempt: a source must not end the service
            log.exception("a source failed", stream=self.stream)
            return Problem("protocol_error", f"the source was not understood ({type(error).__name__})")
        finally:
            watch.cancel()
            attempt.cancel()
            await asyncio.gather(watch, attempt, return_exceptions=True)
        return None

    async def _silence(self) -> None:
        """Returns when nothing has come for too long."""
        left_s = self._config.silence_s
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = max(self._heard_s, self._attempt_s) + self._config.silence_s - time.monotonic()

    async def finish(self, reason: EndReason, message: str = "") -> None:
        """As any source. What this service itself refused is told of in the list, too."""
        if reason is EndReason.FAILED and self.state is not PullState.FAILED and not self.is_over:
            self.state, self.problem = PullState.FAILED, Problem("not_admitted", message)
        await super().finish(reason, message)

    async def _hang_up(self, reason: EndReason) -> None:
        log.info("source over", stream=self.stream, reason=reason.value, attempts=self.attempts)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
