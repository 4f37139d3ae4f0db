"""RTMP and RTMPS client: plays one stream."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NamedTuple

from api.ingest.pull import rtmp_chunks
from api.ingest.pull.amf0 import NotAmf, Value, decode, encode
from api.ingest.pull.errors import PullFailed, PullRefused
from api.ingest.pull.flv_h264 import AvcReader
from api.ingest.pull.rtmp_chunks import (
    ACKNOWLEDGEMENT,
    COMMAND,
    COMMAND_AMF3,
    USER_CONTROL,
    ChunkReader,
    NotRtmp,
    RtmpMessage,
    chunked,
)
from stream.types import Codec

if TYPE_CHECKING:
    from api.ingest.pull.dialer import Dialer
    from api.ingest.pull.puller import FrameSink
    from api.ingest.pull.url_policy import MediaUrl

_VERSION = b"\x03"
_HANDSHAKE_BYTES = 1536
_READ_BYTES = 64 * 1024
_ANSWER_S = 10.0
_CONNECT, _CREATE = 1.0, 2.0
_STREAM_EOF, _PING, _PONG, _SET_BUFFER = 1, 6, 7, 3
_BUFFER_MS = 1000
_OVER = ("NetStream.Play.Stop", "NetStream.Play.Complete", "NetStream.Play.UnpublishNotify")
_CONTROL_STREAM = 2


class RtmpCommand(NamedTuple):
    """One command message, decoded."""

    name: str
    transaction: Value
    arguments: list[Value]

    @property
    def status(self) -> str:
        """The code of a status or an error, such as NetStream.Play.Start; else empty."""
        for argument in self.arguments:
            if isinstance(argument, dict) and isinstance(code := argument.get("code"), str):
                return code
        return ""


class RtmpAttempt:
    """One connection to a server. Implements `Attempt` of `api.ingest.pull.puller`.

    Raises PullRefused for an address with a login.
    """

    def __init__(self, location: MediaUrl, dialer: Dialer) -> None:
        if location.user:
            raise PullRefused("bad_url", "RTMP has no login; put the stream key into the path or the query")
        self._location = location
        self._dialer = dialer

    def request_keyframe(self) -> None:
        """No-op: RTMP has no key frame request."""

    async def run(self, frames: FrameSink) -> None:
        reader, writer = await self._dialer.connect(self._location)
        try:
            await _Player(self._location, reader, writer).play(frames)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise PullFailed("connection_lost", f"{self._location.authority} closed the connection") from None
        except (NotRtmp, NotAmf) as error:
            raise PullFailed("protocol_error", f"the source does not speak RTMP: {error}") from None
        finally:
            writer.close()


class _Player:
    """One playback, from the handshake to the end of the stream."""

    def __init__(self, location: MediaUrl, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._chunks = ChunkReader()
        self._video = AvcReader()
        self._received = self._acknowledged = 0
        self._window = 2**32
        self._is_over = False
        path, _, query = location.target.partition("?")
        app, _, name = path.strip("/").rpartition("/")
        self._app, self._name = app, name + (f"?{query}" if query else "")
        self._tc_url = f"{location.scheme}://{location.authority}/{app}"

    async def play(self, frames: FrameSink) -> None:
        """Raises PullFailed, NotRtmp, NotAmf, IncompleteReadError, ConnectionError."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._shake_hands()
        except TimeoutError:
            raise PullFailed("timeout", "the source does not answer the RTMP handshake") from None
        self._send(COMMAND, encode("connect", _CONNECT, {
            "app": self._app, "flashVer": "LNX 9,0,124,2", "tcUrl": self._tc_url, "fpad": False, "capabilities": 15.0,
            "audioCodecs": 0.0, "videoCodecs": 252.0, "videoFunction": 1.0,
        }))
        while not self._is_over:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise asyncio.IncompleteReadError(b"", None)
            self._received += len(data)
            for message in self._chunks.feed(data):
                self._take(message, frames)
            self._acknowledge()

    async def _shake_hands(self) -> None:
        self._writer.write(_VERSION + bytes(8) + os.urandom(_HANDSHAKE_BYTES - 8))
        if await self._reader.readexactly(1) != _VERSION:
            raise NotRtmp("unsupported version")
        theirs = await self._reader.readexactly(_HANDSHAKE_BYTES)
        self._writer.write(theirs)
        await self._reader.readexactly(_HANDSHAKE_BYTES)

    def _take(self, message: RtmpMessage, frames: FrameSink) -> None:
        match message.kind:
            case rtmp_chunks.VIDEO:
                frame = self._video.read(message.payload)
                if frame is not None:
                    pts_s = (message.time_ms + frame.offset_ms) / 1000
                    frames.take(Codec.H264, frame.payload, pts_s, frame.keyframe)
            case rtmp_chunks.COMMAND | rtmp_chunks.COMMAND_AMF3:
                payload = message.payload[1:] if message.kind == COMMAND_AMF3 else message.payload
                self._obey(_command(payload))
            case rtmp_chunks.USER_CONTROL:
                self._control(message.payload)
            case rtmp_chunks.WINDOW_SIZE:
                self._window = max(1, int.from_bytes(message.payload[:4], "big"))

    def _obey(self, command: RtmpCommand) -> None:
        status = command.status
        match command.name, command.transaction:
            case "_result", 1.0:
                self._send(COMMAND, encode("createStream", _CREATE, None))
            case "_result", 2.0:
                self._begin(command.arguments)
            case "_error", _:
                raise _refusal(status or "an error")
            case "onStatus", _ if status in _OVER:
                self._is_over = True
            case "onStatus", _ if _is_failure(status):
                raise _refusal(status)

    def _begin(self, arguments: list[Value]) -> None:
        number = next((int(value) for value in arguments if isinstance(value, float)), 1)
        buffer = _SET_BUFFER.to_bytes(2, "big") + (number & 0xFFFFFFFF).to_bytes(4, "big")
        self._send(USER_CONTROL, buffer + _BUFFER_MS.to_bytes(4, "big"), chunk_stream=_CONTROL_STREAM)
        self._send(COMMAND, encode("play", 0.0, None, self._name, -2000.0), number & 0xFFFFFFFF)

    def _control(self, payload: bytes) -> None:
        event = int.from_bytes(payload[:2], "big")
        if event == _PING:
            self._send(USER_CONTROL, _PONG.to_bytes(2, "big") + payload[2:6], chunk_stream=_CONTROL_STREAM)
        elif event == _STREAM_EOF:
            self._is_over = True

    def _acknowledge(self) -> None:
        if self._received - self._acknowledged >= self._window // 2:
            self._acknowledged = self._received
            count = (self._received & 0xFFFFFFFF).to_bytes(4, "big")
            self._send(ACKNOWLEDGEMENT, count, chunk_stream=_CONTROL_STREAM)

    def _send(self, kind: int, payload: bytes, stream: int = 0, chunk_stream: int = 3) -> None:
        self._writer.write(chunked(RtmpMessage(kind, stream, 0, payload), chunk_stream))


def _command(payload: bytes) -> RtmpCommand:
    values: list[Value] = [*decode(payload), None, None]
    name, transaction, *arguments = values
    return RtmpCommand(name if isinstance(name, str) else "", transaction, arguments)


def _is_failure(status: str) -> bool:
    return any(word in status for word in ("NotFound", "Failed", "Rejected", "Closed", "InvalidApp", "BadName"))


def _refusal(status: str) -> PullFailed:
    if "NotFound" in status:
        return PullFailed("not_found", f"the source answers {status}: the stream does not exist or has not begun")
    if "Rejected" in status or "BadName" in status or "InvalidApp" in status:
        return PullFailed("unauthorized", f"the source answers {status}", is_final=True)
    return PullFailed("server_failed", f"the source answers {status[:64]}")
