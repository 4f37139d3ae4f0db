"""LRU cache of file verdicts, bounded in entries and bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stream.file_verdict import FileVerdict

MAX_ENTRIES = 512
MAX_BYTES = 64 * 2**20

_ENTRY_BYTES = 2048         # estimated fixed cost of an entry
_FRAME_BYTES = 256
_FACE_BYTES = 1024


class VerdictKey(NamedTuple):
    """Cache key: the file, the model, and the options that change the answer."""

    file_sha256: str
    model_sha256: str
    heat_map: bool
    max_samples: int


class VerdictCache:
    """The cache. Belongs to one event loop."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[VerdictKey, tuple[FileVerdict, int]] = OrderedDict()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def get(self, key: VerdictKey) -> FileVerdict | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: VerdictKey, verdict: FileVerdict) -> None:
        """Stores a verdict, unless it alone exceeds `max_bytes`."""
        cost_bytes = _cost_bytes(verdict)
        if cost_bytes > self._max_bytes:
            return
        self._drop(key)
        self._entries[key] = (verdict, cost_bytes)
        self._size_bytes += cost_bytes
        while len(self._entries) > self._max_entries or self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: VerdictKey) -> None:
        if key in self._entries:
            self._size_bytes -= self._entries.pop(key)[1]


def _cost_bytes(verdict: FileVerdict) -> int:
    counted = len(verdict.frame_predictions) * _FRAME_BYTES + len(verdict.faces) * _FACE_BYTES
    return _ENTRY_BYTES + counted + len(verdict.heat_map_png or b"")
