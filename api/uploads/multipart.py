"""Streaming multipart parser: writes the one file of a form to disk. Blocking; runs in a thread.

The parser limits each part to 8 headers of 4 KiB. This module adds: one file, 8 parts, 1 KiB per text field, and a file
size that is counted from the bytes received, not from Content-Length.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import UploadRefused
from stream.file_type import SNIFF_BYTES

FILE_FIELD = "file"

_MAX_FIELDS = 8
_MAX_FIELD_BYTES = 1024
_MAX_NAME_CHARS = 255


class ReceivedFile(NamedTuple):
    """A received file. `head` is its first 1024 bytes. `name` comes from the client: never use it as a path."""

    name: str
    size_bytes: int
    sha256: str
    head: bytes


class FilePartReader:
    """Parses a body chunk by chunk and writes the file's bytes to `sink`. Every method may raise UploadRefused."""

    def __init__(self, content_type: str | None, sink: BinaryIO, max_file_bytes: int) -> None:
        self._sink = sink
        self._max_file_bytes = max_file_bytes
        self._hash = hashlib.sha256()
        self._head = b""
        self._size_bytes = 0
        self._name: str | None = None
        self._fields = 0
        self._field_bytes = 0
        self._in_file = False
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._ended = False
        self._parser = self._make_parser(content_type)

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UploadRefused(400, "bad_multipart", "the multipart body is malformed") from error

    def finish(self) -> ReceivedFile:
        """Checks that the body is complete and returns the file."""
        if not self._ended:
            raise UploadRefused(400, "bad_multipart", "the multipart body ends before its last boundary")
        if self._name is None or not (self._name or self._size_bytes):    # a browser form without a chosen file
            raise UploadRefused(400, "no_file", f"the form has no file in a field named `{FILE_FIELD}`")
        if self._size_bytes == 0:
            raise UploadRefused(400, "empty_file", "the file is empty")
        self._sink.flush()
        return ReceivedFile(self._name, self._size_bytes, self._hash.hexdigest(), self._head)

    def _make_parser(self, content_type: str | None) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data":
            message = "send the file as multipart/form-data, as image/* or video/*, or in application/json"
            raise UploadRefused(415, "expected_multipart", message)
        if not boundary:
            raise UploadRefused(400, "bad_multipart", "the Content-Type header has no boundary parameter")
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise UploadRefused(400, "bad_multipart", "the boundary in the Content-Type header is too long") from error

    def _on_part_begin(self) -> None:
        self._disposition = b""
        self._in_file = False
        self._fields += 1
        if self._fields > _MAX_FIELDS:
            raise UploadRefused(400, "too_many_parts", f"the form has more than {_MAX_FIELDS} parts")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._field_bytes = 0
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if options.get(b"name") != FILE_FIELD.encode():
            raise UploadRefused(400, "no_file", f"the file's field must be named `{FILE_FIELD}`")
        if self._name is not None:
            raise UploadRefused(400, "too_many_files", "send one file per request")
        self._name = options[b"filename"].decode("utf-8", "replace")[:_MAX_NAME_CHARS]
        self._in_file = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._field_bytes += end - start
            if self._field_bytes > _MAX_FIELD_BYTES:
                raise UploadRefused(400, "field_too_long", f"a text field is longer than {_MAX_FIELD_BYTES} bytes")
            return
        chunk = data[start:end]
        self._size_bytes += len(chunk)
        if self._size_bytes > self._max_file_bytes:
            raise file_too_large(self._max_file_bytes)
        if len(self._head) < SNIFF_BYTES:
            self._head += chunk[: SNIFF_BYTES - len(self._head)]
        self._hash.update(chunk)
        self._sink.write(chunk)

    def _on_end(self) -> None:
        self._ended = True


def file_too_large(limit_bytes: int) -> UploadRefused:
    return UploadRefused(413, "too_large", f"the file is larger than the limit of {limit_bytes} bytes")
