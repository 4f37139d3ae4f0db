"""What all sources of live frames have in common: the stream that they open, and the one end that they come to."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import structlog

from stream.errors import StreamError
from stream.temporal_layers import BASE
from stream.types import DropCause, EndReason

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from stream.protocols import SourceControl
    from stream.stream_session import StreamSpec
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)

_ARRIVING_S = 3.0


class MediaSession(Protocol):
    """What a source's frames go into: `stream.stream_session.Session`."""

    def feed(self, payload: bytes, pts_s: float, keyframe: bool, capture_s: float, layer: Layer) -> None: ...

    def gap(self, cause: DropCause) -> None: ...

    async def end(self, reason: EndReason, message: str = "") -> None: ...


class Streams(Protocol):
    """What is needed of the stream service."""

    def check_admission(self, stream: str, arriving: int) -> None:
        """`arriving` were let in and are not opened yet. Raises StreamExists, ServiceFull, ServiceDraining."""

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        """Raises StreamError."""


class Owner(Protocol):
    """What a source needs of the keeper that it is in."""

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        """Raises StreamError."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it in a task that is waited for before the keeper closes."""

    def forget(self, source: LiveSource) -> None: ...


class LiveSource(ABC):
    """The stream is opened by the first frame that can be decoded, so that an order alone never shows as a call.
    Implements SourceControl for the service, and takes the frames of its track."""

    def __init__(self, stream: str, owner: Owner) -> None:
        self.stream = stream
        self.created_s = time.monotonic()
        self._owner = owner
        self._session: MediaSession | None = None
        self._closing: asyncio.Future[None] | None = None

    @property
    @abstractmethod
    def spec(self) -> StreamSpec:
        """What the stream is, when its first frame is there."""

    @abstractmethod
    def overdue(self, now_s: float) -> EndReason | None:
        """Why this source has to go by now, if it has to; `now_s` is monotonic."""

    @abstractmethod
    def request_keyframe(self) -> None:
        """Asks the sender, where there is a way to."""

    @abstractmethod
    async def _hang_up(self, reason: EndReason) -> None:
        """Lets go of the network. Called once."""

    @property
    def is_over(self) -> bool:
        """On its way out, or gone."""
        return self._closing is not None

    @property
    def is_open(self) -> bool:
        """There was a frame."""
        return self._session is not None

    def is_arriving(self, now_s: float) -> bool:
        """Let in a moment ago, and no frame yet. Who takes longer may never come."""
        return not self.is_open and not self.is_over and now_s - self.created_s < _ARRIVING_S

    def frame(self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer = BASE) -> None:
        """One whole frame that can be decoded after the ones before it; it came `age_s` ago."""
        if self._closing is not None:
            return
        if self._session is None:
            try:
                self._session = self._owner.open(self.spec, self)
            except StreamError as error:
                log.warning("stream refused", stream=self.stream, error=str(error))
                self.end_soon(EndReason.FAILED, str(error))
                return
        self._session.feed(payload, pts_s, keyframe, time.time() - age_s, layer)

    def lost(self) -> None:
        """Media is missing from here on."""
        self._gap(DropCause.PACKET_LOSS)

    def end_soon(self, reason: EndReason, message: str = "") -> None:
        """Ends it in a task of the owner."""
        if self._closing is None:
            self._owner.spawn(self.finish(reason, message))

    async def finish(self, reason: EndReason, message: str = "") -> None:
        """Hangs up and ends the stream, if there is one. Idempotent; every caller returns after the end."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        try:
            await self._hang_up(reason)
            if self._session is not None:
                await self._session.end(reason, message)
        finally:
            self._owner.forget(self)
            self._closing.set_result(None)

    async def close(self) -> None:
        """Hangs up for the service, which ends the stream itself."""
        self._session = None
        await self.finish(EndReason.STOPPED)

    def _gap(self, cause: DropCause) -> None:
        if self._session is not None:
            self._session.gap(cause)
