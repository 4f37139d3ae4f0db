"""Reader of PyTorch state dicts, without PyTorch and without running code from the file.

Reads safetensors, and the zip format of `torch.save` (PyTorch 1.6 and later). The unpickler for the latter allows only
the few names that a dictionary of tensors needs; it refuses a file with any other name before calling anything.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize

from detector.errors import WeightsRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    StateDict = dict[str, NDArray[Any]]

_LIMIT_BYTES = 512 * 1024 * 1024
_HEADER_LIMIT_BYTES = 16 * 1024 * 1024
_NUMBERS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip
_BFLOAT16 = "BF16"
_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": _BFLOAT16,
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip
# Training frameworks keep the weights under one of these keys, beside the optimiser's state.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_state_dict(path: Path) -> StateDict:
    """Returns arrays by name, in the number types of the file (bfloat16 as float32). Raises WeightsRefused."""
    try:
        size = path.stat().st_size
        if size > _LIMIT_BYTES:
            raise WeightsRefused(f"{path.name}: {size} bytes, more than {_LIMIT_BYTES}")
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_zip(path)
    except OSError as error:
        raise WeightsRefused(f"{path.name} cannot be read: {error.strerror}") from error


def _numbers(content: bytes, kind: str) -> NDArray[Any]:
    if kind == _BFLOAT16:
        # The upper half of a float32.
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, _NUMBERS[kind])


def _read_safetensors(path: Path) -> StateDict:
    try:
        tensors = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
        return {name: _numbers(bytes(entry["data"]), entry["dtype"]).reshape(entry["shape"]) for name, entry in tensors}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsRefused(f"{path.name}: not a safetensors file: {type(error).__name__}: {error}") from error


class _Storage(NamedTuple):
    """Stands for `torch.FloatStorage` and similar classes: a number type."""

    kind: str


def _read_zip(path: Path) -> StateDict:
    if not zipfile.is_zipfile(path):
        raise WeightsRefused(
            f"{path.name}: neither safetensors nor the zip format of torch.save (PyTorch 1.6 and later); "
            "save the state dict again with a current PyTorch"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            if archive.getinfo(listing).file_size > _HEADER_LIMIT_BYTES:
                raise ValueError("a listing of more than 16 MB")
            return _state_dict_of(_Unpickler(archive, listing).load())
    except WeightsRefused:
        raise
    except Exception as error:      # a stream of pickle opcodes can raise anything
        raise WeightsRefused(f"{path.name}: not a state dict: {type(error).__name__}: {error}") from error


def _state_dict_of(content: Any) -> StateDict:
    """Returns the tensors of the content or of the state dict that it wraps. Raises ValueError without any."""
    for name in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    found = {name: value for name, value in dict(content).items() if isinstance(value, np.ndarray)}
    if not found:
        raise ValueError("it holds no tensors")
    return found


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries of numpy arrays, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, listing: str) -> None:
        super().__init__(archive.open(listing))
        self._archive = archive
        self._folder = listing.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        found = _ALLOWED.get((module, name))
        if found is None:
            raise WeightsRefused(f"the file refers to {module}.{name}, which no state dict needs; it is not opened")
        return found

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        tag, storage, key, _, count = pid
        if tag != "storage" or not isinstance(storage, _Storage):
            raise ValueError(f"an unknown reference {tag!r}")
        entry = self._archive.getinfo(f"{self._folder}data/{key}")
        if entry.file_size > _LIMIT_BYTES:
            raise ValueError(f"a storage of {entry.file_size} bytes")
        numbers = _numbers(self._archive.read(entry), storage.kind)
        if len(numbers) != count:
            raise ValueError(f"storage {key}: expected {count} numbers, got {len(numbers)}")
        return numbers


def _tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """Stands for `torch._utils._rebuild_tensor_v2`."""
    reach = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) + 1
    count = int(np.prod(shape, dtype=object))
    if min((offset, *shape, *stride)) < 0 or count > len(storage) or (count and reach > len(storage)):
        raise ValueError(f"a tensor of {shape} reaches out of its storage")
    bytes_per_step = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_per_step, writeable=False).copy()


def _parameter(tensor: NDArray[Any], *_: Any) -> NDArray[Any]:
    """Stands for `torch._utils._rebuild_parameter`."""
    return tensor


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
