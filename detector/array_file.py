"""Array files: uncompressed `.npz` archives with aligned members, which are memory-mapped instead of copied.

NumPy reads them as ordinary archives. Object arrays are refused, so nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import struct
import zipfile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import InvalidArrayFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_ALIGNMENT_BYTES = 64
# Signature, fields that the central directory repeats, lengths of name and extra field.
_LOCAL_HEADER = struct.Struct("<4s22sHH")
_PADDING_FIELD = struct.Struct("<HH")
_PADDING_ID = 0xD935  # the extra field that zip alignment tools use
_STAMP = (1980, 1, 1, 0, 0, 0)  # the earliest time of the zip format; constant, so that equal arrays give equal files


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes `arrays` sorted by name; equal arrays give equal bytes. Raises ValueError for object arrays."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(arrays[name], order="C"), (1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _STAMP)
            start = file.tell() + _LOCAL_HEADER.size + len(entry.filename.encode()) + _PADDING_FIELD.size
            padding = -start % _ALIGNMENT_BYTES
            entry.extra = _PADDING_FIELD.pack(_PADDING_ID, padding) + bytes(padding)
            archive.writestr(entry, content.getvalue())


class MappedArrays:
    """Memory-mapped arrays of one file, for reading only. The views keep the mapping alive."""

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        """Maps the file and, where `sha256` (hex) is given, checks its digest.

        Raises InvalidArrayFile for another format or another digest, OSError if the file cannot be opened.
        """
        with path.open("rb") as file:
            try:
                # Copy-on-write, because OpenVINO shares only writable memory. This module never writes to it.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                if sha256 is not None and hashlib.sha256(self._map).hexdigest() != sha256:
                    raise InvalidArrayFile(f"{path.name}: its SHA-256 is not the one in the manifest")
                self.arrays: Mapping[str, NDArray[Any]] = MappingProxyType(self._views(zipfile.ZipFile(file)))
            except (zipfile.BadZipFile, ValueError, struct.error) as error:
                raise InvalidArrayFile(f"{path.name} is not an uncompressed npz of plain arrays: {error}") from error

    def release_pages(self) -> None:
        """Releases the resident pages of the file; the next read of a view loads them again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _views(self, archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
        return {entry.filename.removesuffix(".npy"): self._view(entry) for entry in archive.infolist()}

    def _view(self, entry: zipfile.ZipInfo) -> NDArray[Any]:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename} is compressed")
        *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(self._map, entry.header_offset)
        start = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        head = io.BytesIO(self._map[start : start + min(entry.file_size, 4096)])
        if np.lib.format.read_magic(head) != (1, 0):
            raise ValueError(f"{entry.filename}: expected npy format 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        if dtype.hasobject or fortran:
            raise ValueError(f"{entry.filename}: expected a plain array in C order, got {dtype}")
        flat = np.frombuffer(self._map, dtype, count=int(np.prod(shape)), offset=start + head.tell())
        return flat.reshape(shape)
