"""AMF0 values of RTMP commands: numbers, booleans, strings, null, objects and arrays. Pure."""

from __future__ import annotations

import struct

Value = float | bool | str | None | dict[str, "Value"] | list["Value"]

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED = 0, 1, 2, 3, 5, 6
_ECMA_ARRAY, _STRICT_ARRAY, _LONG_STRING = 8, 10, 12
_END = b"\0\0\x09"
_MAX_DEPTH = 8
_MAX_ENTRIES = 1024


class NotAmf(ValueError):
    """The bytes are truncated, nested too deep, or of a type that commands do not use."""


def encode(*values: Value) -> bytes:
    return b"".join(_encoded(value) for value in values)


def _encoded(value: Value) -> bytes:
    match value:
        case None:
            return bytes((_NULL,))
        case bool():
            return bytes((_BOOLEAN, value))
        case int() | float():
            return struct.pack(">Bd", _NUMBER, value)
        case str():
            return bytes((_STRING,)) + _text(value)
        case dict():
            inside = b"".join(_text(key) + _encoded(item) for key, item in value.items())
            return bytes((_OBJECT,)) + inside + _END
    raise NotAmf("arrays can be decoded only")


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def decode(data: bytes) -> list[Value]:
    """Returns all values. Raises NotAmf."""
    reader = _Reader(data)
    values: list[Value] = []
    try:
        while not reader.is_over:
            values.append(reader.value(0))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise NotAmf(str(error)) from None
    return values


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._data)

    def value(self, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            raise NotAmf("too deep")
        kind = self._take(1)[0]
        if kind in (_STRING, _LONG_STRING):
            return self._text(2 if kind == _STRING else 4)
        if kind in (_OBJECT, _ECMA_ARRAY):
            self._take(4 if kind == _ECMA_ARRAY else 0)
            return self._object(depth)
        if kind == _STRICT_ARRAY:
            return [self.value(depth + 1) for _ in range(self._count())]
        return self._plain(kind)

    def _plain(self, kind: int) -> Value:
        if kind == _NUMBER:
            return float(struct.unpack(">d", self._take(8))[0])
        if kind == _BOOLEAN:
            return bool(self._take(1)[0])
        if kind in (_NULL, _UNDEFINED):
            return None
        raise NotAmf(f"unknown type {kind}")

    def _object(self, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for _ in range(_MAX_ENTRIES):
            if self._data[self._at : self._at + 3] == _END:
                self._at += 3
                return found
            key = self._text(2)
            found[key] = self.value(depth + 1)
        raise NotAmf("too many entries")

    def _text(self, size: int) -> str:
        return self._take(int.from_bytes(self._take(size), "big")).decode()

    def _count(self) -> int:
        count = int.from_bytes(self._take(4), "big")
        if count > _MAX_ENTRIES:
            raise NotAmf("too many entries")
        return count

    def _take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise NotAmf("truncated")
        self._at += size
        return part
