"""Incident export: one zip per incident. The manifest lists every file with its SHA-256 when the alarm opened."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from api.errors import InvalidBundle
from api.incidents.incident_queries import Details, FileInfo
from stream.types import ModelRef

FORMAT = "deepguard.incident/1"
MANIFEST, INCIDENT = "manifest.json", "incident.json"

_MOST_FILES, _MOST_BYTES = 1000, 256 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)      # fixed time stamps: the same incident gives the same zip
_encoder = msgspec.json.Encoder(order="deterministic")


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest entry of one file."""

    sha256: str
    size_bytes: int


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`. With `faces_blurred` the bundle has no face pictures, and faces cannot be scored again."""

    format: str
    id: str
    verdict: str
    model: ModelRef | None
    rules_sha256: str
    faces_blurred: bool
    exported_s: float
    files: dict[str, ListedFile]


class IncidentBundle(NamedTuple):
    """An unpacked zip. `differences` lists files that do not match the manifest."""

    manifest: BundleManifest
    contents: Mapping[str, bytes]
    differences: tuple[str, ...]


def pack(details: Details, contents: Mapping[str, bytes], now_s: float) -> bytes:
    """Packs an incident. `incident.json` holds the current review; all other files are unchanged since the alarm."""
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
    """Zips files. Only JSON is compressed, because pictures already are."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in contents.items():
            compression = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, compression)
    return out.getvalue()


def unpack(path: Path) -> IncidentBundle:
    """Reads an incident export. Raises InvalidBundle."""
    contents = _read(path)
    if MANIFEST not in contents:
        raise InvalidBundle(f"{MANIFEST} is missing: the file is not an incident export")
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
    """Returns an entry; a damaged one is empty, which the manifest check reports as changed."""
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return b""


def _differences(manifest: BundleManifest, contents: Mapping[str, bytes]) -> list[str]:
    found = []
    for name, listed in sorted(manifest.files.items()):
        if name not in contents:
            found.append(f"{name}: missing")
        elif hashlib.sha256(contents[name]).hexdigest() != listed.sha256:
            found.append(f"{name}: changed (its SHA-256 differs from the manifest)")
    return found + [f"{name}: not in the manifest" for name in sorted(contents.keys() - manifest.files.keys())]


def _listed(file: FileInfo) -> ListedFile:
    return ListedFile(sha256=file.sha256, size_bytes=file.size_bytes)
