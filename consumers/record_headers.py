"""Record headers as text and numbers, with bounds checked. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from consumers.errors import ContractBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.broker import Headers

MAX_HEADER_BYTES = 2048
MAX_NUMBER = 2**53 - 1      # exact in the floating-point numbers of every language

_NUMBER = re.compile(r"[0-9]{1,16}")
_Value = TypeVar("_Value")


class HeaderFields:
    """The headers of one record. Every method raises ContractBroken for a header that breaks the contract."""

    def __init__(self, headers: Headers) -> None:
        self._values: dict[str, bytes | None] = {}
        self._repeated: set[str] = set()
        for name, value in headers:
            if name in self._values:
                self._repeated.add(name)
            self._values[name] = value

    def text(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            raise ContractBroken("missing_header", f"{name} is missing")
        return value

    def optional(self, name: str) -> str | None:
        """Returns the text of a header, or None if it is absent or null."""
        value = self._values.get(name)
        if value is None:
            return None
        if name in self._repeated:
            raise ContractBroken("bad_header", f"{name} appears twice")
        if len(value) > MAX_HEADER_BYTES:
            raise ContractBroken("bad_header", f"{name} has more than {MAX_HEADER_BYTES} bytes")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ContractBroken("bad_header", f"{name} is not UTF-8") from error

    def must_equal(self, name: str, expected: str, code: str) -> None:
        if (found := self.text(name)) != expected:
            raise ContractBroken(code, f"{name}: expected {expected!r}, got {found[:64]!r}")

    def parsed(self, name: str, read: Callable[[str], _Value | None]) -> _Value:
        """Parses a required header; `read` returns None for a value that is not allowed."""
        found = self.text(name)
        value = read(found)
        if value is None:
            raise ContractBroken("bad_header", f"{name}: {found[:64]!r} is not allowed")
        return value

    def optional_parsed(self, name: str, read: Callable[[str], _Value | None]) -> _Value | None:
        """Parses an optional header as `parsed` does; None if it is absent or null."""
        return None if self.optional(name) is None else self.parsed(name, read)

    def number(self, name: str) -> int:
        return self.parsed(name, _number)


def _number(text: str) -> int | None:
    value = int(text) if _NUMBER.fullmatch(text) else MAX_NUMBER + 1
    return value if value <= MAX_NUMBER else None
