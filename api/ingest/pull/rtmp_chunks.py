"""RTMP chunk stream: assembles messages from chunks, and cuts messages into chunks. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE = 1, 2, 3, 4, 5
VIDEO, DATA, COMMAND, COMMAND_AMF3 = 9, 18, 20, 17
MAX_MESSAGE_BYTES = 8 * 2**20
_MAX_CHUNK_STREAMS = 64
_EXTENDED = 0xFFFFFF
_HEAD_BYTES = (11, 7, 3, 0)
_OUR_CHUNK_BYTES = 128


class NotRtmp(ValueError):
    """The bytes are not a chunk stream."""


class RtmpMessage(NamedTuple):
    """One whole message; `time_ms` is the sender's clock."""

    kind: int
    stream: int
    time_ms: int
    payload: bytes


@dataclass
class _PartialMessage:
    """The incomplete message of one chunk stream."""

    time_ms: int = 0
    step_ms: int = 0
    length: int = 0
    kind: int = 0
    stream: int = 0
    extended: bool = False
    payload: bytearray = field(default_factory=bytearray)


class ChunkReader:
    """Assembles messages from bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._chunk_bytes = 128
        self._partial: dict[int, _PartialMessage] = {}

    def feed(self, data: bytes) -> list[RtmpMessage]:
        """Returns the messages that these bytes complete. Raises NotRtmp."""
        self._buffer += data
        messages = []
        while (step := self._chunk()) is not None:
            used, message = step
            del self._buffer[:used]
            if message is None:
                continue
            if message.kind == SET_CHUNK_SIZE:
                self._resize(message.payload)
            messages.append(message)
        return messages

    def _resize(self, payload: bytes) -> None:
        self._chunk_bytes = int.from_bytes(payload[:4], "big")
        if not 1 <= self._chunk_bytes <= MAX_MESSAGE_BYTES:
            raise NotRtmp(f"invalid chunk size {self._chunk_bytes}")

    def _chunk(self) -> tuple[int, RtmpMessage | None] | None:
        """Returns the size of the next chunk in bytes and the message it completes; None if the chunk is incomplete."""
        buffer = self._buffer
        if not buffer:
            return None
        form, chunk_stream = buffer[0] >> 6, buffer[0] & 0x3F
        at = 1
        if chunk_stream < 2:
            at += 1 + chunk_stream
            chunk_stream = 64 + int.from_bytes(buffer[1:at], "little")
        end = at + _HEAD_BYTES[form]
        if len(buffer) < end:
            return None
        known = self._partial.get(chunk_stream)
        if known is None and (form or len(self._partial) >= _MAX_CHUNK_STREAMS):
            raise NotRtmp("a chunk continues a message that never began")
        partial = replace(known) if known else _PartialMessage()
        start = self._read_head(partial, form, bytes(buffer[at:end]), end)
        return None if start is None else self._body(partial, chunk_stream, start)

    def _read_head(self, partial: _PartialMessage, form: int, head: bytes, end: int) -> int | None:
        """Returns the offset of the body; None if the header is incomplete. Raises NotRtmp."""
        if form < 3:
            if partial.payload:
                raise NotRtmp("a message begins within another")
            time_ms = int.from_bytes(head[:3], "big")
            partial.extended = time_ms == _EXTENDED
            if form < 2:
                partial.length, partial.kind = int.from_bytes(head[3:6], "big"), head[6]
            if form == 0:
                partial.stream = int.from_bytes(head[7:11], "little")
        else:
            time_ms = partial.step_ms
        if partial.extended:
            if len(self._buffer) < end + 4:
                return None
            time_ms = int.from_bytes(self._buffer[end : end + 4], "big")
            end += 4
        if not partial.payload:
            partial.time_ms = time_ms if form == 0 else partial.time_ms + time_ms
            partial.step_ms = time_ms
        if partial.length > MAX_MESSAGE_BYTES:
            raise NotRtmp(f"a message has {partial.length} bytes; the limit is {MAX_MESSAGE_BYTES}")
        return end

    def _body(self, partial: _PartialMessage, chunk_stream: int, start: int) -> tuple[int, RtmpMessage | None] | None:
        size = min(self._chunk_bytes, partial.length - len(partial.payload))
        if len(self._buffer) < start + size:
            return None
        partial.payload += self._buffer[start : start + size]
        self._partial[chunk_stream] = partial
        if len(partial.payload) < partial.length:
            return start + size, None
        message = RtmpMessage(partial.kind, partial.stream, partial.time_ms & 0xFFFFFFFF, bytes(partial.payload))
        partial.payload = bytearray()
        return start + size, message


def chunked(message: RtmpMessage, chunk_stream: int = 3) -> bytes:
    """Returns a message as chunks of 128 bytes."""
    payload = message.payload
    head = bytes((chunk_stream,)) + b"\0\0\0" + len(payload).to_bytes(3, "big") + bytes((message.kind,))
    head += message.stream.to_bytes(4, "little")
    parts = [payload[at : at + _OUR_CHUNK_BYTES] for at in range(0, len(payload), _OUR_CHUNK_BYTES)] or [b""]
    return head + bytes((0xC0 | chunk_stream,)).join(parts)
