"""Pulled source: connection attempts with back-off that all feed one stream."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from api.ingest.live_source import LiveSource, SourceFailure, SourceKind, SourceState, SourceStatus
from api.ingest.pull.errors import PullFailed
from stream.display_transform import AS_DECODED, DisplayTransform
from stream.retry_policy import RetryPolicy
from stream.stream_session import StreamSpec
from stream.temporal_layers import BASE
from stream.types import Codec, DropCause, EndReason

if TYPE_CHECKING:
    from api.ingest.live_source import SourceOwner
    from stream.identity import StreamIdentity
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)

_PROBLEM_SHOWN_S = 10.0     # after media arrives again
_RENEWED = frozenset({"unauthorized", "refused"})


@dataclass(frozen=True, slots=True)
class PullTimeouts:
    """`silence_s` ends an attempt that brings no media; `retry_s` after its last media the whole source has failed."""

    silence_s: float = 10.0
    retry_s: float = 300.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    settled_s: float = 10.0


class PullRequest(NamedTuple):
    """A source to fetch. `protocol` is rtsp, rtmp, hls, http or whep; `host` is for display and holds no login."""

    identity: StreamIdentity
    protocol: str
    host: str
    caller: str = ""


class FrameSink(Protocol):
    """Receives the frames of an attempt. Called in the event loop; must not block."""

    def take(
        self, codec: Codec, payload: bytes, pts_s: float, keyframe: bool, display: DisplayTransform = AS_DECODED
    ) -> None:
        """Takes one whole frame, H.264 as Annex-B with in-band parameter sets. Drops frames before a key frame."""

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None:
        """As `take`, for the announced codec."""

    def announce(self, codec: Codec) -> None:
        """Sets the codec of the frames that follow. Raises PullFailed if an earlier frame had another codec."""

    def lost(self) -> None:
        """Records that media is missing from here on."""

    def missing(self, code: str, message: str) -> None:
        """Records that a part of the media cannot be fetched and is skipped; shown as the source's problem."""


class Attempt(Protocol):
    """One connection to a source."""

    async def run(self, frames: FrameSink) -> None:
        """Receives until the source ends. Raises PullFailed. Cancellation closes the connection."""

    def request_keyframe(self) -> None: ...


class PulledSource(LiveSource):
    """Fetches from its construction on, until the source ends or has failed for good."""

    kind = SourceKind.PULL

    def __init__(self, request: PullRequest, attempt: Attempt, timeouts: PullTimeouts, owner: SourceOwner) -> None:
        super().__init__(request.identity, owner, protocol=request.protocol, host=request.host, caller=request.caller)
        self.attempts = 0
        self.next_s: float | None = None
        self._attempt = attempt
        self._timeouts = timeouts
        self._codec: Codec | None = None
        self._heard_s = self._first_s = self._attempt_s = self.created_s
        self._problem_s = self.created_s
        self._needs_keyframe = True
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def spec(self) -> StreamSpec:
        if self._codec is None:
            raise RuntimeError("a frame arrived before its codec was announced")
        return StreamSpec(identity=self.identity, source=self.protocol, codec=self._codec)

    def status(self, now_s: float) -> SourceStatus:
        retry_in_s = None if self.next_s is None else round(max(0.0, self.next_s - now_s), 1)
        return super().status(now_s)._replace(attempts=self.attempts, retry_in_s=retry_in_s)

    def overdue(self, now_s: float) -> EndReason | None:
        """Returns None: each attempt watches its own silence."""
        return None

    def request_keyframe(self) -> None:
        if self.state is SourceState.RECEIVING:
            self._attempt.request_keyframe()

    def missing(self, code: str, message: str) -> None:
        log.warning("part of the source missing", stream=self.stream, code=code)
        self.problem, self._problem_s = SourceFailure(code, message), time.monotonic()
        self._gap(DropCause.SOURCE_LOST)

    def announce(self, codec: Codec) -> None:
        if self._codec not in (None, codec):
            raise PullFailed("unsupported_codec", f"the source changed from {self._codec} to {codec}", is_final=True)
        self._codec = codec

    def take(
        self, codec: Codec, payload: bytes, pts_s: float, keyframe: bool, display: DisplayTransform = AS_DECODED
    ) -> None:
        self.announce(codec)
        self.frame(payload, pts_s, keyframe, 0.0, display=display)

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer = BASE, *,
        display: DisplayTransform = AS_DECODED,
    ) -> None:
        if self.state is SourceState.FAILED:
            return
        self._heard_s = time.monotonic()
        if self.state is not SourceState.RECEIVING:
            self.state, self.problem, self._first_s = SourceState.RECEIVING, None, self._heard_s
        elif self.problem is not None and self._heard_s - self._problem_s > _PROBLEM_SHOWN_S:
            self.problem = None
        if self._needs_keyframe and not keyframe:
            return
        self._needs_keyframe = False
        super().frame(payload, pts_s, keyframe, age_s, layer, display=display)

    async def _run(self) -> None:
        """Makes attempts until the source ends or has failed for good."""
        timeouts, failures = self._timeouts, 0
        policy = RetryPolicy.exponential(timeouts.first_wait_s, timeouts.longest_wait_s, jitter=0.5)
        while True:
            failed = await self._try()
            if failed is None:
                self.end_soon(EndReason.END_OF_MEDIA)
                return
            self.problem = failed
            received_s = self._heard_s - self._first_s if self.state is SourceState.RECEIVING else 0.0
            failures = 1 if received_s >= timeouts.settled_s else failures + 1
            wait_s = policy.delay_s(failures)
            self._gap(DropCause.SOURCE_LOST)
            log.warning("source lost", stream=self.stream, code=failed.code, attempt=self.attempts)
            if self._is_final(failed) or time.monotonic() + wait_s - self._heard_s > timeouts.retry_s:
                self.state = SourceState.FAILED
                self.end_soon(EndReason.FAILED, f"{failed.code}: {failed.message}")
                return
            self.state, self.next_s = SourceState.RETRYING, time.monotonic() + wait_s
            await asyncio.sleep(wait_s)
            self.state, self.next_s = SourceState.CONNECTING, None

    def _is_final(self, failed: SourceFailure) -> bool:
        """Whether another attempt is pointless. Names, logins and tokens that worked once may work again."""
        renewed = failed.code == "host_unknown" or (failed.code in _RENEWED and self.is_open)
        return failed.is_final and not renewed

    async def _try(self) -> SourceFailure | None:
        """Makes one attempt; returns None when the source ended by itself."""
        self.attempts += 1
        self._needs_keyframe = True
        self._attempt_s = time.monotonic()
        watch = asyncio.get_running_loop().create_task(self._silence())
        attempt = asyncio.get_running_loop().create_task(self._attempt.run(self))
        try:
            await asyncio.wait((watch, attempt), return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                return SourceFailure("timeout", f"no media for {self._timeouts.silence_s:g} s")
            attempt.result()
        except PullFailed as failed:
            return SourceFailure(failed.code, failed.message, failed.is_final)
        except Exception as error:      # outermost frame of an attempt: a source must not end the service
            log.exception("source attempt crashed", stream=self.stream)
            return SourceFailure("protocol_error", f"the source's answer cannot be parsed ({type(error).__name__})")
        finally:
            watch.cancel()
            attempt.cancel()
            await asyncio.gather(watch, attempt, return_exceptions=True)
        return None

    async def _silence(self) -> None:
        """Returns when no media has arrived for `silence_s`."""
        left_s = self._timeouts.silence_s
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = max(self._heard_s, self._attempt_s) + self._timeouts.silence_s - time.monotonic()

    async def _close_connection(self, reason: EndReason) -> None:
        log.info("pulled source ended", stream=self.stream, reason=reason.value, attempts=self.attempts)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
