"""Multipart bodies, good and bad."""

from __future__ import annotations

BOUNDARY = b"a-boundary"
CONTENT_TYPE = "multipart/form-data; boundary=a-boundary"


def part(content: bytes, name: str = "file", filename: str | None = "a.jpg", headers: bytes = b"") -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    disposition = f'Content-Disposition: form-data; name="{name}"{shown}\r\n'.encode()
    return b"--" + BOUNDARY + b"\r\n" + disposition + headers + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"
