"""Counts of HTTP answers by method, route template, status and error code, for `/metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

UNMATCHED = "unmatched"       # stands for the route of an answer that no route gave
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AnswerKind(NamedTuple):
    """Labels of one counter; `code` is the error code, empty for an answer without an error."""

    method: str
    route: str
    status: int
    code: str


class RequestCounts:
    """Counters since the start. Their number is bounded: routes, statuses and codes are those of the service itself."""

    def __init__(self) -> None:
        self._counts: Counter[AnswerKind] = Counter()

    def add(self, method: str, route: str, status: int, code: str) -> None:
        """Counts one answer. Methods that the service does not know share one label, since clients invent them."""
        self._counts[AnswerKind(method if method in _METHODS else "other", route, status, code)] += 1

    def __iter__(self) -> Iterator[tuple[AnswerKind, int]]:
        return iter(sorted(self._counts.items()))
