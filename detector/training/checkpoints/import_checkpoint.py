"""Import of PyTorch checkpoints as model folders.

Reads Xception under the names of public FaceForensics++ and DeepfakeBench checkpoints (`conv1`, `block1.rep.0.conv1`,
..., `last_linear`). Batch normalisation and normalisation of the input are folded into the convolutions, so that the
model takes RGB in -1..1 like every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.array_file import write_arrays
from detector.errors import WeightsRefused
from detector.model_artifact import Manifest, sha256_of, write_manifest
from detector.training.checkpoints.torch_state_dict import read_state_dict
from detector.types import NetworkInput, Padding
from detector.xception_openvino import FEATURES, HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    StateDict = Mapping[str, NDArray[Any]]
    Arrays = dict[str, NDArray[Any]]

ARRAYS_FILE = "xception.npz"
NORM_EPSILON = 1e-5
# Prefixes that frameworks add to every parameter name.
_PREFIXES = ("module.", "backbone.", "model.", "net.", "encoder.")
_HEADS = ("last_linear", "last_linear.1", "fc")
_COLOURS = ("rgb", "bgr")


@dataclass(frozen=True, slots=True)
class CheckpointFormat:
    """Input and output of the checkpoint's network.

    The input is (pixel / 255 - mean) / sd per channel in the order of `colour`, on squares of `size_px`. `fake_class`
    is the index of the output for fake, where there are two. Raises ValueError.
    """

    size_px: int = 299
    colour: str = "rgb"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    sd: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fake_class: int = 1

    def __post_init__(self) -> None:
        if self.colour not in _COLOURS:
            raise ValueError(f"colour: expected one of {_COLOURS}, got {self.colour!r}")
        if len(self.mean) != 3 or len(self.sd) != 3 or min(self.sd) <= 0:
            raise ValueError(f"expected three means and three positive deviations, got {self.mean} and {self.sd}")
        if self.fake_class not in (0, 1):
            raise ValueError(f"fake_class: expected 0 or 1, got {self.fake_class}")


def parse_triple(text: str) -> tuple[float, float, float]:
    """Parses three numbers such as "0.5,0.5,0.5". Raises ValueError."""
    parts = [float(part) for part in text.split(",")]
    if len(parts) != 3 or not np.isfinite(parts).all():
        raise ValueError(f"expected three numbers separated by commas, got {text!r}")
    return parts[0], parts[1], parts[2]


def import_weights(path: Path, out: Path, source: CheckpointFormat, name: str, version: str) -> Manifest:
    """Writes the uncalibrated model to the folder `out` and returns its manifest. Raises WeightsRefused, ValueError."""
    network_input = NetworkInput(source.size_px, Padding.BOTH)
    arrays = convert(read_state_dict(path), source)
    out.mkdir(parents=True, exist_ok=True)
    write_arrays(out / ARRAYS_FILE, arrays)
    manifest = Manifest(
        name=name,
        version=version,
        arrays_file=ARRAYS_FILE,
        sha256=sha256_of(out / ARRAYS_FILE),
        calibration=None,
        frequency=None,
        trained={"imported": {"file": path.name, "sha256": sha256_of(path), **_describe(source)}},
        network_input=network_input,
    )
    write_manifest(out, manifest)
    return manifest


def _describe(source: CheckpointFormat) -> dict[str, Any]:
    return {
        "size_px": source.size_px, "colour": source.colour, "mean": list(source.mean), "sd": list(source.sd),
        "fake_class": source.fake_class,
    }  # fmt: skip


def convert(released: StateDict, source: CheckpointFormat) -> Arrays:
    """Returns stored arrays (float32) of a state dict.

    Raises WeightsRefused if a weight is missing, has another shape, or is not finite.
    """
    released = _unprefixed(released)
    arrays: Arrays = {}
    try:
        for ours, convolution, norm in _layers():
            arrays |= _fold(released, ours, convolution, norm)
        arrays |= _head(released, source.fake_class)
        arrays["block1_conv1|kernel"], arrays["block1_conv1|bias"] = _colours(
            arrays["block1_conv1|kernel"], arrays["block1_conv1|bias"], source
        )
    except KeyError as missing:
        raise WeightsRefused(f"not an Xception with known weight names: {missing} is missing") from missing
    except ValueError as error:
        raise WeightsRefused(f"the weights do not fit Xception: {error}") from error
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise WeightsRefused("some weights are not finite")
    return arrays


def _unprefixed(released: StateDict) -> StateDict:
    """Returns the state dict without the prefixes of its names."""
    while "conv1.weight" not in released:
        prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in released)), None)
        if prefix is None:
            break
        released = {name.removeprefix(prefix): array for name, array in released.items() if name.startswith(prefix)}
    return released


def _layers() -> Iterator[tuple[str, str, str]]:
    """Yields (stored layer, PyTorch convolution, PyTorch normalisation), in network order."""
    yield "block1_conv1", "conv1", "bn1"
    yield "block1_conv2", "conv2", "bn2"
    for block in range(2, 14):  # their blocks 1 to 12
        theirs, count = f"block{block - 1}", 3 if 5 <= block <= 12 else 2
        # A block is a list of activation, convolution and normalisation in turn; the first starts without activation.
        first = 0 if block == 2 else 1
        for layer in range(count):
            place = first + 3 * layer
            yield f"block{block}_sepconv{layer + 1}", f"{theirs}.rep.{place}", f"{theirs}.rep.{place + 1}"
        if count == 2:
            yield f"block{block}_shortcut", f"{theirs}.skip", f"{theirs}.skipbn"
    yield "block14_sepconv1", "conv3", "bn3"
    yield "block14_sepconv2", "conv4", "bn4"


def _fold(released: StateDict, ours: str, convolution: str, norm: str) -> Arrays:
    gamma, beta, mean, variance = (
        released[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma / np.sqrt(variance + NORM_EPSILON)
    arrays: Arrays = {f"{ours}|bias": (beta - mean * gain).astype(np.float32)}
    separable = "sepconv" in ours
    kernel = released[f"{convolution}.pointwise.weight" if separable else f"{convolution}.weight"]
    if kernel.ndim != 4:
        raise ValueError(f"{convolution}: expected a kernel of four dimensions, got {kernel.shape}")
    folded = kernel.astype(np.float64) * gain[:, None, None, None]
    arrays[f"{ours}|{'pointwise_kernel' if separable else 'kernel'}"] = np.ascontiguousarray(folded, dtype=np.float32)
    if separable:
        depthwise = released[f"{convolution}.conv1.weight"].astype(np.float32)
        arrays[f"{ours}|depthwise_kernel"] = np.ascontiguousarray(depthwise[:, :, None])
    return arrays


def _head(released: StateDict, fake_class: int) -> Arrays:
    """Returns the head as one unit; of two outputs the difference, which is the log-odds of their softmax."""
    theirs = next((name for name in _HEADS if f"{name}.weight" in released), _HEADS[0])
    kernel, bias = released[f"{theirs}.weight"].astype(np.float64), released[f"{theirs}.bias"].astype(np.float64)
    if kernel.shape not in ((1, FEATURES), (2, FEATURES)):
        raise ValueError(f"{theirs}: expected one or two outputs of {FEATURES} features, got {kernel.shape}")
    if len(kernel) == 2:
        kernel = kernel[fake_class] - kernel[1 - fake_class]
        bias = bias[fake_class] - bias[1 - fake_class]
    return {
        HEAD_KERNEL: kernel.reshape(FEATURES, 1).astype(np.float32),
        HEAD_BIAS: bias.reshape(1).astype(np.float32),
    }


def _colours(
    kernel: NDArray[Any], bias: NDArray[Any], source: CheckpointFormat
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns kernel and bias of the first layer for RGB in -1..1; it has no padding, so the scale folds in exactly."""
    wide = kernel.astype(np.float64)
    mean, sd = (np.array(values)[None, :, None, None] for values in (source.mean, source.sd))
    shifted = bias + (wide * (0.5 - mean) / sd).sum(axis=(1, 2, 3))
    scaled = wide * 0.5 / sd
    if source.colour == "bgr":
        scaled = scaled[:, ::-1]
    return np.ascontiguousarray(scaled, dtype=np.float32), shifted.astype(np.float32)
