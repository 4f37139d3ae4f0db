"""Worker channel: length-prefixed MessagePack on a stream socket.

Each message is four bytes of length, big-endian, then one struct of `stream.worker_messages`.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import msgspec

from stream.errors import ChannelBroken
from stream.worker_messages import FromWorker, ToWorker

if TYPE_CHECKING:
    import asyncio
    import socket

MAX_MESSAGE_BYTES = 32 * 2**20
_HEADER = struct.Struct(">I")
_READ_BYTES = 256 * 1024

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


def pack(message: ToWorker | FromWorker) -> bytes:
    """Returns one message preceded by its length. Raises ChannelBroken if it is too long."""
    body = _encoder.encode(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise ChannelBroken(f"message of {len(body)} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    return _HEADER.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> FromWorker:
    """Returns the next message of a worker. Raises ChannelBroken, or asyncio.IncompleteReadError at the end."""
    (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    _check_size(size)
    try:
        message: FromWorker = _from_worker.decode(await reader.readexactly(size))
    except msgspec.DecodeError as error:
        raise ChannelBroken(str(error)) from error
    return message


class WorkerChannel:
    """The worker's end. Calls block; `send` may be called from several threads, `receive` from one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._send_lock = threading.Lock()
        self._reader = connection.makefile("rb", buffering=_READ_BYTES)

    def send(self, message: FromWorker) -> None:
        """Blocks while the other side does not read. Raises OSError when it has ended."""
        data = pack(message)
        with self._send_lock:
            self._socket.sendall(data)

    def receive(self) -> ToWorker | None:
        """Blocks for the next message; returns None at the end. Raises ChannelBroken, OSError."""
        header = self._reader.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        (size,) = _HEADER.unpack(header)
        _check_size(size)
        body = self._reader.read(size)
        if len(body) < size:
            return None
        try:
            message: ToWorker = _to_worker.decode(body)
        except msgspec.DecodeError as error:
            raise ChannelBroken(str(error)) from error
        return message

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


def _check_size(size: int) -> None:
    if size > MAX_MESSAGE_BYTES:
        raise ChannelBroken(f"message of {size} bytes announced; at most {MAX_MESSAGE_BYTES} are allowed")
