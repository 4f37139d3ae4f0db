"""Bodies of uploads other than forms: the file itself, or JSON that holds it or names its URL."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, Protocol

import msgspec
from starlette.requests import Request

from api.errors import UploadRefused
from api.uploads.multipart import ReceivedFile, file_too_large
from stream.file_type import SNIFF_BYTES

JSON_TYPE = "application/json"
# JSON is decoded in memory, so larger files must come as they are.
MAX_JSON_BYTES = 16 * 2**20

# Opens a URL under the operator's policy and yields its bytes.
Fetch = Callable[[str], AbstractAsyncContextManager[AsyncIterator[bytes]]]


class BodyReader(Protocol):
    """Writes the file in a body to its sink. Every method may raise UploadRefused."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self) -> ReceivedFile: ...


class RawBodyReader:
    """Takes a body that is the file itself."""

    def __init__(self, sink: BinaryIO, max_file_bytes: int) -> None:
        self._sink = sink
        self._max_file_bytes = max_file_bytes
        self._hash = hashlib.sha256()
        self._head = b""
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes > self._max_file_bytes:
            raise file_too_large(self._max_file_bytes)
        self._head += chunk[: SNIFF_BYTES - len(self._head)]
        self._hash.update(chunk)
        self._sink.write(chunk)

    def finish(self) -> ReceivedFile:
        if not self._size_bytes:
            raise UploadRefused(400, "empty_file", "the file is empty")
        self._sink.flush()
        return ReceivedFile("", self._size_bytes, self._hash.hexdigest(), self._head)


class FileOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON of an upload: the file in base64, or a URL that the service fetches."""

    data: str = ""
    url: str = ""


_decoder = msgspec.json.Decoder(FileOrder)


def is_raw(content_type: str) -> bool:
    """Returns whether a body of this type is the file itself."""
    kind = media_type(content_type)
    return kind.startswith(("image/", "video/")) or kind == "application/octet-stream"


def media_type(content_type: str) -> str:
    """Returns the type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


async def json_file(request: Request, fetch: Fetch) -> AsyncIterator[bytes]:
    """Yields the bytes of the file that a JSON body holds or names. Raises UploadRefused, and the errors of `fetch`."""
    order = await _order(request)
    if order.url:
        async with fetch(order.url) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    try:
        yield base64.b64decode(order.data, validate=True)
    except (binascii.Error, ValueError):
        raise UploadRefused(400, "bad_base64", "data: expected the file in base64") from None


async def _order(request: Request) -> FileOrder:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            message = f"a JSON body has at most {MAX_JSON_BYTES} bytes; send the file itself, or as multipart/form-data"
            raise UploadRefused(413, "too_large", message)
    try:
        order = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise UploadRefused(400, "bad_json", f"expected an object with `data` or `url`: {error}") from None
    if bool(order.data) == bool(order.url):
        raise UploadRefused(400, "bad_json", "send either `data`, the file in base64, or `url`")
    return order
