"""Export of kept data: one zip, made piece by piece, so that one incident at a time is in memory."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from api.errors import EvidenceLocked
from api.incidents.export_bundle import pack

if TYPE_CHECKING:
    from api.incidents.kept_data import DataSubject
    from api.incidents.lifecycle import IncidentService

_EPOCH = (1980, 1, 1, 0, 0, 0)
_encoder = msgspec.json.Encoder(order="deterministic")


class _Pipe(io.RawIOBase):
    """What the zip writer has written and nobody has taken."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:    # type: ignore[override]  # narrower
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


async def export_of(
    incidents: IncidentService, subject: DataSubject, ids: Sequence[str], calls: Sequence[tuple[str, bytes]]
) -> AsyncIterator[bytes]:
    """Yields a zip: `kept.json`, `calls/` with timelines and pictures in memory, `incidents/` with one zip each.

    Incidents that are deleted meanwhile are left out. One that cannot be decrypted is a text that says so.
    Raises StorageUnavailable.
    """
    pipe = _Pipe()
    header = {**subject._asdict(), "exported_s": time.time(), "incidents": ids, "calls": [name for name, _ in calls]}
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr(zipfile.ZipInfo("kept.json", _EPOCH), _encoder.encode(header))
        for name, content in calls:
            archive.writestr(zipfile.ZipInfo(f"calls/{name}", _EPOCH), content)
        for incident in ids:
            yield pipe.take()
            details = await incidents.run_in_thread(incidents.queries.get, incident)
            if details is None:
                continue
            try:
                contents = await incidents.run_in_thread(incidents.queries.contents, incident)
            except EvidenceLocked as locked:
                archive.writestr(zipfile.ZipInfo(f"incidents/{incident}.locked.txt", _EPOCH), locked.message)
                continue
            packed = await incidents.run_in_thread(pack, details, contents, time.time())
            archive.writestr(zipfile.ZipInfo(f"incidents/{incident}.zip", _EPOCH), packed)
    yield pipe.take()
