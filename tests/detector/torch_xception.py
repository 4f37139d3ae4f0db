"""Reference Xception of PyTorch in NumPy, with random weights under the names of public checkpoints.

Also writes files in the formats of PyTorch and safetensors.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

# Block: channels in, channels out, convolutions, stride, whether it starts with an activation, where channels grow.
BLOCKS = (
    (64, 128, 2, 2, False, "first"), (128, 256, 2, 2, True, "first"), (256, 728, 2, 2, True, "first"),
    *((728, 728, 3, 1, True, "first"),) * 8, (728, 1024, 2, 2, True, "last"),
)  # fmt: skip


def random_state_dict(seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    made: Tensors = {}

    def norm(name: str, width: int) -> None:
        made[f"{name}.weight"] = rng.uniform(0.8, 1.2, width)
        made[f"{name}.bias"] = rng.normal(0, 0.1, width)
        made[f"{name}.running_mean"] = rng.normal(0, 0.1, width)
        made[f"{name}.running_var"] = rng.uniform(0.8, 1.5, width)
        made[f"{name}.num_batches_tracked"] = np.array(7)

    def plain(name: str, start: int, width: int, side: int) -> None:
        made[f"{name}.weight"] = rng.normal(0, (start * side * side / 2) ** -0.5, (width, start, side, side))

    def separable(name: str, start: int, width: int) -> None:
        made[f"{name}.conv1.weight"] = rng.normal(0, 1 / 3, (start, 1, 3, 3))
        plain(f"{name}.pointwise", start, width, 1)

    plain("conv1", 3, 32, 3)
    norm("bn1", 32)
    plain("conv2", 32, 64, 3)
    norm("bn2", 64)
    for number, (start, width, count, stride, active, grows) in enumerate(BLOCKS, 1):
        widths = [start] + [width] * count if grows == "first" else [start] * count + [width]
        for layer in range(count):
            place = 3 * layer + (1 if active else 0)
            separable(f"block{number}.rep.{place}", widths[layer], widths[layer + 1])
            norm(f"block{number}.rep.{place + 1}", widths[layer + 1])
        if stride != 1:
            plain(f"block{number}.skip", start, width, 1)
            norm(f"block{number}.skipbn", width)
    for name, width_in, width_out in (("conv3", 1024, 1536), ("conv4", 1536, 2048)):
        separable(name, width_in, width_out)
        norm(f"bn{name[-1]}", width_out)
    made["last_linear.weight"], made["last_linear.bias"] = rng.normal(0, 0.003, (2, 2048)), rng.normal(0, 0.1, 2)
    return {name: np.asarray(array, np.int64 if array.ndim == 0 else np.float32) for name, array in made.items()}


def forward(weights: Tensors, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, classes) from (n, 3, s, s), normalised as the network wants it."""

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        gamma, beta, mean, variance = (
            weights[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def separable(x: NDArray[Any], name: str) -> NDArray[Any]:
        kernel = weights[f"{name}.conv1.weight"][:, 0]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        rows, columns = x.shape[2:]
        places = [(i, j) for i in range(3) for j in range(3)]
        spread = sum(padded[:, :, i : i + rows, j : j + columns] * kernel[:, i, j, None, None] for i, j in places)
        return pointwise(spread, f"{name}.pointwise")

    def pointwise(x: NDArray[Any], name: str) -> NDArray[Any]:
        return np.einsum("oc,nchw->nohw", weights[f"{name}.weight"][:, :, 0, 0], x, optimize=True)

    def valid(x: NDArray[Any], name: str, stride: int) -> NDArray[Any]:
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
        return np.einsum("ocij,nchwij->nohw", weights[f"{name}.weight"], windows, optimize=True)

    def halved(x: NDArray[Any]) -> NDArray[Any]:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(axis=(4, 5))

    x = np.maximum(norm(valid(pixels, "conv1", 2), "bn1"), 0)
    x = np.maximum(norm(valid(x, "conv2", 1), "bn2"), 0)
    for number, (_, _, count, stride, active, _) in enumerate(BLOCKS, 1):
        y = x
        for layer in range(count):
            place = 3 * layer + (1 if active else 0)
            y = np.maximum(y, 0) if active or layer else y
            y = norm(separable(y, f"block{number}.rep.{place}"), f"block{number}.rep.{place + 1}")
        if stride == 1:
            x = y + x
        else:
            x = halved(y) + norm(pointwise(x[:, :, ::2, ::2], f"block{number}.skip"), f"block{number}.skipbn")
    for name in ("3", "4"):
        x = np.maximum(norm(separable(x, f"conv{name}"), f"bn{name}"), 0)
    return x.mean(axis=(2, 3)) @ weights["last_linear.weight"].T + weights["last_linear.bias"]


def write_safetensors(path: Path, tensors: Tensors) -> None:
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64", np.dtype(np.float16): "F16"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = io.BytesIO()
    for name, array in tensors.items():
        start = body.tell()
        body.write(np.ascontiguousarray(array).tobytes())
        header[name] = {"dtype": kinds[array.dtype], "shape": list(array.shape), "data_offsets": [start, body.tell()]}
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body.getvalue())


class _Named:
    """Pickles as a name of another module, as classes and functions do."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Stored:
    def __init__(self, array: NDArray[Any], key: str) -> None:
        self.array, self.key = array, key


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes tensors as `torch.save` does: numbers in files of their own, named by persistent ids."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Stored):
            kind = {"f4": "FloatStorage", "i8": "LongStorage", "f2": "HalfStorage"}[obj.array.dtype.str[1:]]
            return "storage", _Named("torch", kind), obj.key, "cpu", obj.array.size
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)


class _Tensor:
    def __init__(self, stored: _Stored) -> None:
        self.stored = stored

    def __reduce_ex__(self, protocol: Any) -> Any:
        array = self.stored.array
        strides = tuple(step // array.itemsize for step in array.strides)
        rebuilt = (self.stored, 0, array.shape, strides, False, OrderedDict())
        return _Rebuild(), rebuilt


class _Rebuild(_Named):
    def __init__(self) -> None:
        super().__init__("torch._utils", "_rebuild_tensor_v2")

    def __call__(self, *_: Any) -> Any:
        raise AssertionError("only ever pickled by name")


def write_pth(path: Path, tensors: Tensors, wrapper: str | None = None) -> None:
    """As `torch.save(state_dict)`, or of a dictionary that has the weights under `wrapper` beside other things."""
    stored = {name: _Stored(np.ascontiguousarray(array).reshape(array.shape), str(key))
              for key, (name, array) in enumerate(tensors.items())}
    listing: Any = OrderedDict((name, _Tensor(item)) for name, item in stored.items())
    if wrapper is not None:
        listing = {"epoch": 3, wrapper: listing}
    with zipfile.ZipFile(path, "w") as archive:
        content = io.BytesIO()
        _Pickler(content, 2).dump(listing)
        archive.writestr("archive/data.pkl", content.getvalue())
        for item in stored.values():
            archive.writestr(f"archive/data/{item.key}", item.array.tobytes())
