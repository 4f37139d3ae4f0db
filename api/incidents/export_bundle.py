"""An incident as one zip, and back. The manifest names every file with the SHA-256 it had when the alarm opened."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from api.incidents.errors import InvalidBundle
from api.incidents.incident_queries import Details, FileInfo
from stream.types import ModelRef

FORMAT = "deepguard.incident/1"
MANIFEST, INCIDENT = "manifest.json", "incident.json"

_MOST_FILES, _MOST_BYTES = 1000, 256 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)      # the same zip for the same incident
_encoder = msgspec.json.Encoder(order="deterministic")


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the manifest says of one file."""

    sha256: str
    size_bytes: int


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`. `faces_blurred`: there are no pictures of faces in it, so that they cannot be scored again."""

    format: str
    id: str
    verdict: str
    model: ModelRef | None
    rules_sha256: str
    faces_blurred: bool
    exported_s: float
    files: dict[str, ListedFile]


class IncidentBundle(NamedTuple):
    """A zip that was read. `differences` name what the manifest does not bear out."""

    manifest: BundleManifest
    contents: Mapping[str, bytes]
    differences: tuple[str, ...]


def pack(details: Details, contents: Mapping[str, bytes], now_s: float) -> bytes:
    """The zip. What was reviewed is in `incident.json`; all other files are as they were kept."""
    incident = _encoder.encode({"incident": details.incident, "notes": details.notes})
    listed = {file.name: _listed(file) for file in details.files}
    listed[INCIDENT] = ListedFile(sha256=hashlib.sha256(incident).hexdigest(), size_bytes=len(incident))
    manifest = BundleManifest(
        format=FORMAT, id=details.incident.id, verdict=details.incident.verdict, model=details.incident.model,
        rules_sha256=details.incident.rules_sha256, exported_s=now_s, files=listed,
        faces_blurred=not any(name.startswith("crops/") for name in listed),
    )
    return zipped({MANIFEST: _encoder.encode(manifest), INCIDENT: incident, **contents})


def zipped(contents: Mapping[str, bytes]) -> bytes:
    """A zip of these files. Pictures do not get smaller, so nothing is compressed but JSON."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in contents.items():
            how = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, how)
    return out.getvalue()


def unpack(path: Path) -> IncidentBundle:
    """Reads a zip. Raises InvalidBundle for what is none of ours, or cannot be read."""
    contents = _read(path)
    if MANIFEST not in contents:
        raise InvalidBundle(f"{MANIFEST} is missing: this is no exported incident")
    try:
        manifest = msgspec.json.decode(contents.pop(MANIFEST), type=BundleManifest)
    except msgspec.MsgspecError as error:
        raise InvalidBundle(f"{MANIFEST}: {error}") from None
    if manifest.format != FORMAT:
        raise InvalidBundle(f"{MANIFEST}: expected format {FORMAT}, got {manifest.format}")
    return IncidentBundle(manifest, contents, tuple(_differences(manifest, contents)))


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > _MOST_BYTES:
                raise InvalidBundle(f"more than {_MOST_FILES} files, or {_MOST_BYTES // 2**20} MiB")
            return {entry.filename: _content(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise InvalidBundle(f"the zip cannot be read: {error}") from None


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A damaged entry as it is: the manifest tells that it was changed."""
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return b""


def _differences(manifest: BundleManifest, contents: Mapping[str, bytes]) -> list[str]:
    told = []
    for name, listed in sorted(manifest.files.items()):
        if name not in contents:
            told.append(f"{name}: missing")
        elif hashlib.sha256(contents[name]).hexdigest() != listed.sha256:
            told.append(f"{name}: changed (SHA-256 is not the manifest's)")
    return told + [f"{name}: not in the manifest" for name in sorted(contents.keys() - manifest.files.keys())]


def _listed(file: FileInfo) -> ListedFile:
    return ListedFile(sha256=file.sha256, size_bytes=file.size_bytes)
