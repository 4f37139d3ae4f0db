"""Conversion of the published MTCNN weights: three pickles of the `mtcnn` 1.0.0 wheel -> `mtcnn.npz` + `mtcnn.json`.

A developer runs it once: `python -m detector.training.checkpoints.convert_mtcnn detector/weights`.
The pickles are opened only if their SHA-256 is that of the published wheel.

Arrays of the result, all float32 (`<net>` is pnet, rnet or onet):

`<net>.<conv>.kernel`   (out, in, height, width)     `<net>.<conv>.bias`   (out,)
`<net>.<dense>.kernel`  (out, in)                    `<net>.<dense>.bias`  (out,)
`<net>.<layer>.slope`   (out,) of the PReLU that follows the layer

The inputs of the first dense layer are in channel, row, column order (the published file has column, row, channel),
so a channels-first feature map is flattened without a transpose.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np

from detector.errors import WeightsRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.float32]]

SOURCE = "Python package mtcnn 1.0.0 (mtcnn/assets/weights/{pnet,rnet,onet}.lz4)"
LICENCE = "MIT"
COPYRIGHT = "Copyright (c) 2019-2024 Iván de Paz Centeno"
PUBLISHED_SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
# Layer names in the order of the published lists; a star marks a layer that a PReLU follows.
LAYERS = {
    "pnet": ("conv1*", "conv2*", "conv3*", "box", "face"),
    "rnet": ("conv1*", "conv2*", "conv3*", "fc4*", "box", "face"),
    "onet": ("conv1*", "conv2*", "conv3*", "conv4*", "fc5*", "box", "landmarks", "face"),
}
# Rows and columns of the feature map that the first dense layer reads, in R- and O-Net alike.
FLATTENED_SIDE = 3


def published_arrays(net: str) -> list[NDArray[np.float32]]:
    """Returns the arrays of one network as published. Raises WeightsRefused for any other file."""
    # Located by the file list of the wheel: importing the package would load TensorFlow.
    wheel = importlib.metadata.distribution("mtcnn")
    data = Path(str(wheel.locate_file(f"mtcnn/assets/weights/{net}.lz4"))).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != PUBLISHED_SHA256[net]:
        raise WeightsRefused(f"{net}.lz4: expected sha256 {PUBLISHED_SHA256[net]}, got {digest}")
    arrays: list[NDArray[np.float32]] = joblib.load(io.BytesIO(data))
    return arrays


def serving_kernel(kernel: NDArray[np.float32], *, first_dense: bool) -> NDArray[np.float32]:
    """Returns a kernel in serving layout: (h, w, in, out) -> (out, in, h, w), (in, out) -> (out, in)."""
    if kernel.ndim == 4:
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    if first_dense:
        side = FLATTENED_SIDE
        columns_rows_channels = kernel.reshape(side, side, -1, kernel.shape[1])
        kernel = columns_rows_channels.transpose(2, 1, 0, 3).reshape(kernel.shape)
    return np.ascontiguousarray(kernel.T)


def convert(net: str) -> Arrays:
    """Returns all arrays of one network under their serving names. Raises WeightsRefused."""
    remaining = iter(published_arrays(net))
    converted: Arrays = {}
    for layer in LAYERS[net]:
        name = f"{net}.{layer.rstrip('*')}"
        converted[f"{name}.kernel"] = serving_kernel(next(remaining), first_dense=".fc" in name)
        converted[f"{name}.bias"] = next(remaining)
        if layer.endswith("*"):
            converted[f"{name}.slope"] = next(remaining).reshape(-1)
    if next(remaining, None) is not None:
        raise WeightsRefused(f"{net}.lz4 holds more arrays than the network has layers")
    return converted


def write(folder: Path) -> str:
    """Writes `mtcnn.npz` and `mtcnn.json` into `folder`; returns the SHA-256 of the former."""
    arrays: Arrays = {}
    for net in LAYERS:
        arrays |= convert(net)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    (folder / "mtcnn.npz").write_bytes(packed.getvalue())
    entry = {"file": "mtcnn.npz", "sha256": digest, "source": SOURCE, "licence": LICENCE, "copyright": COPYRIGHT}
    (folder / "mtcnn.json").write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return digest


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and converts the weights."""
    parser = argparse.ArgumentParser(description="Convert the published MTCNN weights.")
    parser.add_argument("folder", type=Path, help="folder for mtcnn.npz and mtcnn.json")
    write(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
