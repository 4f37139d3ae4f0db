"""Named arrays in one file: an uncompressed `.npz` whose arrays are aligned, so that they can be mapped, not copied.

Any numpy reads it. Nothing is ever unpickled: object arrays are refused.
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
_STAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: equal arrays make equal files


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `arrays` in sorted order; equal arrays give equal bytes. Raises ValueError for object arrays."""
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
    """Views of the arrays of one file, to be read only. The views keep the mapping alive."""

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        """Map the file; with `sha256` (hex), only if the bytes have that digest.

        Raises InvalidArrayFile if it is not such a file or has another digest; OSError if it cannot be opened.
        """
        with path.open("rb") as file:
            try:
                # Private and writable: OpenVINO shares only writable memory. Nothing here writes.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                if sha256 is not None and hashlib.sha256(self._map).hexdigest() != sha256:
                    raise InvalidArrayFile(f"{path.name} is not the file that the manifest pins: its SHA-256 differs")
                self.arrays: Mapping[str, NDArray[Any]] = MappingProxyType(self._views(zipfile.ZipFile(file)))
            except (zipfile.BadZipFile, ValueError, struct.error) as error:
                raise InvalidArrayFile(f"{path.name} is not an uncompressed npz of plain arrays: {error}") from error

    def release_pages(self) -> None:
        """Give the file's pages back to the system; whoever reads a view again has them loaded again."""
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
