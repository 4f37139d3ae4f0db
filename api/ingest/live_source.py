"""Base class of all live sources: WHIP sessions, RTP receivers and pulled sources."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from stream.display_transform import AS_DECODED, DisplayTransform
from stream.errors import StreamError
from stream.temporal_layers import BASE
from stream.types import DropCause, EndReason

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from stream.identity import StreamIdentity
    from stream.protocols import SourceControl
    from stream.stream_session import StreamSpec
    from stream.temporal_layers import Layer

log = structlog.get_logger(__name__)

_ARRIVING_S = 3.0
_UNDECODABLE = {
    DropCause.NO_KEYFRAME: "media arrives, but no key frame; nothing can be decoded",
    DropCause.TOO_LARGE: "media arrives, but its frames are larger than the limit",
}
_UNDECODABLE_OTHERWISE = "media arrives, but no frame can be decoded; parameter sets may be missing"


class SourceKind(StrEnum):
    """How a source reaches this service. Each kind has its own limits."""

    WHIP = "whip"
    RTP = "rtp"
    PULL = "pull"


class SourceState(StrEnum):
    """What a source is doing. `CONNECTING` lasts until its first frame; only pulled sources retry."""

    CONNECTING = "connecting"
    RECEIVING = "receiving"
    RETRYING = "retrying"
    FAILED = "failed"


class SourceFailure(NamedTuple):
    """Why a source, or its last attempt, failed. Holds no exception: a traceback would keep the connection alive."""

    code: str
    message: str
    is_final: bool = False


class SourceStatus(NamedTuple):
    """One source as lists show it. `protocol` is whip, rtp, rtsp, rtmp, hls, http or whep.

    `host` is where a pulled source is fetched from, or the one address that an RTP receiver accepts; else empty.
    """

    identity: StreamIdentity
    protocol: str
    host: str
    state: SourceState
    attempts: int = 1
    retry_in_s: float | None = None
    problem: SourceFailure | None = None


class MediaSession(Protocol):
    """Receives a source's frames. Implemented by `stream.stream_session.Session`."""

    def feed(
        self, payload: bytes, pts_s: float, keyframe: bool, capture_s: float, layer: Layer, *, display: DisplayTransform
    ) -> None: ...

    def gap(self, cause: DropCause) -> None: ...

    @property
    def problem(self) -> DropCause | None:
        """Why the media that arrives cannot be decoded; None while it can."""

    async def end(self, reason: EndReason, message: str = "") -> None: ...


class LiveStreams(Protocol):
    """The part of the stream service that sources use. Implemented by `stream.stream_service.StreamService`."""

    def check_admission(self, stream: str, arriving: int) -> None:
        """Raises StreamExists, ServiceFull or ServiceDraining; `arriving` counts admitted sources without a stream."""

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        """Raises StreamError."""

    async def stop(self, stream: str, reason: EndReason) -> None:
        """Raises StreamUnknown."""


class SourceOwner(Protocol):
    """The part of the registry that a source uses."""

    def open(self, spec: StreamSpec, control: SourceControl) -> MediaSession:
        """Raises StreamError."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in a task that the registry awaits before it closes."""

    def forget(self, source: LiveSource) -> None: ...


class LiveSource(ABC):
    """A source from its admission to its end; a `SourceControl` for the stream service.

    The first decodable frame opens the stream, so a source without media never shows as a call.
    """

    kind: SourceKind

    def __init__(
        self, identity: StreamIdentity, owner: SourceOwner, *, protocol: str, host: str = "", caller: str = ""
    ) -> None:
        """`caller` is the API key or address that the limits count by."""
        self.identity = identity
        self.protocol = protocol
        self.host = host
        self.caller = caller
        self.created_s = time.monotonic()
        self.state = SourceState.CONNECTING
        self.problem: SourceFailure | None = None
        self._owner = owner
        self._session: MediaSession | None = None
        self._closing: asyncio.Future[None] | None = None

    @property
    @abstractmethod
    def spec(self) -> StreamSpec:
        """The stream to open. Read when the first frame arrives."""

    @abstractmethod
    def overdue(self, now_s: float) -> EndReason | None:
        """Returns why this source must end now, or None; `now_s` is monotonic."""

    @abstractmethod
    def request_keyframe(self) -> None:
        """Asks the sender for a key frame; a no-op where the protocol has no way to ask."""

    @abstractmethod
    async def _close_connection(self, reason: EndReason) -> None:
        """Closes the network connection. Called once."""

    @property
    def stream(self) -> str:
        return self.identity.stream

    @property
    def is_pending(self) -> bool:
        """Whether the source still has to connect."""
        return self.state is SourceState.CONNECTING

    @property
    def is_over(self) -> bool:
        """Whether the source is ending or has ended."""
        return self._closing is not None

    @property
    def is_open(self) -> bool:
        """Whether the first frame has opened the stream."""
        return self._session is not None

    def is_arriving(self, now_s: float) -> bool:
        """Whether the source was admitted less than 3 s ago and has no frame yet; later ones may never send."""
        return not self.is_open and not self.is_over and now_s - self.created_s < _ARRIVING_S

    def status(self, now_s: float) -> SourceStatus:
        """Returns what lists show; `now_s` is monotonic."""
        return SourceStatus(
            self.identity, self.protocol, self.host, self.state, problem=self.problem or self._media_problem
        )

    @property
    def _media_problem(self) -> SourceFailure | None:
        cause = None if self._session is None else self._session.problem
        return None if cause is None else SourceFailure("undecodable", _UNDECODABLE.get(cause, _UNDECODABLE_OTHERWISE))

    def frame(
        self, payload: bytes, pts_s: float, keyframe: bool, age_s: float, layer: Layer = BASE, *,
        display: DisplayTransform = AS_DECODED,
    ) -> None:
        """Takes one whole frame, decodable after the frames before it, that arrived `age_s` ago."""
        if self._closing is not None or self.state is SourceState.FAILED:
            return
        self.state = SourceState.RECEIVING
        if self._session is None:
            try:
                self._session = self._owner.open(self.spec, self)
            except StreamError as error:
                log.warning("stream refused", stream=self.stream, error=str(error))
                self.state, self.problem = SourceState.FAILED, SourceFailure("not_admitted", str(error))
                self.end_soon(EndReason.FAILED, str(error))
                return
        self._session.feed(payload, pts_s, keyframe, time.time() - age_s, layer, display=display)

    def lost(self) -> None:
        """Records that media is missing from here on."""
        self._gap(DropCause.PACKET_LOSS)

    def end_soon(self, reason: EndReason, message: str = "") -> None:
        """Ends the source in a task of its owner."""
        if self._closing is None:
            self._owner.spawn(self.finish(reason, message))

    async def finish(self, reason: EndReason, message: str = "") -> None:
        """Hangs up and ends the stream, if one is open. Idempotent; every call returns after the end."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        try:
            await self._close_connection(reason)
            if self._session is not None:
                await self._session.end(reason, message)
        finally:
            self._owner.forget(self)
            self._closing.set_result(None)

    async def close(self) -> None:
        """Hangs up for the stream service, which ends the stream itself."""
        self._session = None
        await self.finish(EndReason.STOPPED)

    def _gap(self, cause: DropCause) -> None:
        if self._session is not None:
            self._session.gap(cause)
