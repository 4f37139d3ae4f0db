from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.array_file import MappedArrays, write_arrays
from detector.errors import InvalidArrayFile

if TYPE_CHECKING:
    from pathlib import Path

ARRAYS = {
    "b|kernel": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "a|bias": np.array([1.5, -2.0], np.float32),
    "scalar": np.array(7, np.int64),
}


def test_arrays_round_trip_and_plain_numpy_reads_them(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz", ARRAYS)
    mapped = MappedArrays(tmp_path / "x.npz").arrays
    plain = np.load(tmp_path / "x.npz", allow_pickle=False)
    assert set(mapped) == set(ARRAYS) == set(plain.files)
    for name, array in ARRAYS.items():
        assert mapped[name].dtype == array.dtype
        assert np.array_equal(mapped[name], array)
        assert np.array_equal(plain[name], array)


def test_arrays_are_aligned_and_readable_after_release_pages(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz", ARRAYS)
    mapped = MappedArrays(tmp_path / "x.npz")
    assert all(array.ctypes.data % 64 == 0 for array in mapped.arrays.values())
    mapped.release_pages()
    assert np.array_equal(mapped.arrays["b|kernel"], ARRAYS["b|kernel"])


def test_equal_arrays_make_equal_files(tmp_path: Path) -> None:
    write_arrays(tmp_path / "one.npz", ARRAYS)
    write_arrays(tmp_path / "two.npz", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_arrays(path, ARRAYS)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert MappedArrays(path, digest).arrays
    with pytest.raises(InvalidArrayFile, match="SHA-256"):
        MappedArrays(path, "0" * 64)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{"code": 1}], dtype=object))
    with pytest.raises(InvalidArrayFile):
        MappedArrays(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "y.npz", {"a": np.array([{}], dtype=object)})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but then nothing", b"x" * 5000])
def test_files_that_are_not_zip_archives_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InvalidArrayFile):
        MappedArrays(tmp_path / "x.npz")


def test_compressed_and_foreign_members_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(100))
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("a.npy", b"no numpy header here")
    for name in ("x.npz", "y.npz"):
        with pytest.raises(InvalidArrayFile):
            MappedArrays(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz", ARRAYS)
    whole = (tmp_path / "x.npz").read_bytes()
    for length in range(1, len(whole), 37):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(InvalidArrayFile):
            MappedArrays(tmp_path / "cut.npz")
