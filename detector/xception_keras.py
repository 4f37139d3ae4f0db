"""Xception in Keras, and conversion between Keras weights and stored arrays.

Stored arrays have batch normalisation folded into the convolutions (`detector.xception_openvino`). The Keras network
gets normalisations that only add the bias, so both runtimes compute from the same numbers. Keras is imported when a
network is built, never by importing this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import InvalidArrayFile
from detector.quantization import read_kernel
from detector.types import CROP_SIZE_PX
from detector.xception_openvino import FEATURES, HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

BN_EPSILON = 1e-3
_SHORTCUT_BLOCKS = (2, 3, 4, 13)


def convolution_names() -> Iterator[tuple[str, str, str]]:
    """Yields (stored name, Keras name, Keras name of its normalisation) of every convolution, in network order.

    Keras leaves the four shortcuts unnamed, so their Keras names carry running numbers.
    """
    for name in ("block1_conv1", "block1_conv2"):
        yield name, name, f"{name}_bn"
    for block in range(2, 15):
        layers = 3 if 5 <= block <= 12 else 2
        for name in (f"block{block}_sepconv{layer}" for layer in range(1, layers + 1)):
            yield name, name, f"{name}_bn"
    for index, block in enumerate(_SHORTCUT_BLOCKS):
        suffix = f"_{index}" if index else ""
        yield f"block{block}_shortcut", f"conv2d{suffix}", f"batch_normalization{suffix}"


def fold_normalisation(released: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns stored arrays (float16 kernels, float32 biases) of Keras weights named `LAYER|WEIGHT`.

    The (pointwise) kernel w becomes w * g and its bias beta - mean * g, with g = gamma / sqrt(variance + 0.001).
    Raises InvalidArrayFile where a weight is missing.
    """
    try:
        folded = [_fold_layer(released, *names) for names in convolution_names()]
    except KeyError as missing:
        raise InvalidArrayFile(f"Keras weights of Xception: {missing} is missing") from missing
    return {name: array for layer in folded for name, array in layer.items()}


def _fold_layer(released: Mapping[str, NDArray[Any]], name: str, keras_name: str, norm: str) -> dict[str, NDArray[Any]]:
    gamma, beta, mean, variance = (
        released[f"{norm}|{part}"].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    gain = gamma / np.sqrt(variance + BN_EPSILON)
    arrays: dict[str, NDArray[Any]] = {f"{name}|bias": (beta - mean * gain).astype(np.float32)}
    part = "pointwise_kernel" if "sepconv" in name else "kernel"
    kernel = released[f"{keras_name}|{part}"].astype(np.float64) * gain
    arrays[f"{name}|{part}"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), dtype=np.float16)
    if "sepconv" in name:
        depthwise = released[f"{keras_name}|depthwise_kernel"].transpose(2, 3, 0, 1)[:, :, None]
        arrays[f"{name}|depthwise_kernel"] = np.ascontiguousarray(depthwise, dtype=np.float16)
    return arrays


def build_keras_model(arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Builds the network as a Keras model: float32 (n, 224, 224, 3) RGB in [-1, 1] to logits (n, 1).

    Needs the `train` extra. Raises InvalidArrayFile where an array is missing or has another shape.
    """
    import keras

    keras.backend.clear_session()  # restarts the running numbers of the shortcuts
    backbone = keras.applications.Xception(
        weights=None, include_top=False, pooling="avg", input_shape=(CROP_SIZE_PX, CROP_SIZE_PX, 3)
    )
    logit = keras.layers.Dense(1, name="head")(backbone.output)
    model = keras.Model(backbone.input, logit, name="xception")
    load_into_keras(model, arrays)
    return model


def load_into_keras(model: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Sets every layer of `model` from stored arrays; a head that the arrays lack stays as it is.

    Raises InvalidArrayFile where an array is missing or has another shape.
    """
    present = {layer.name for layer in model.layers}
    try:
        for name, keras_name, norm in convolution_names():
            if keras_name in present:
                model.get_layer(keras_name).set_weights(_keras_kernels(arrays, name))
                model.get_layer(norm).set_weights(_bias_only(arrays[f"{name}|bias"]))
        if "head" in present and HEAD_KERNEL in arrays:
            head = [np.asarray(arrays[key], dtype=np.float32) for key in (HEAD_KERNEL, HEAD_BIAS)]
            model.get_layer("head").set_weights([head[0].reshape(FEATURES, 1), head[1]])
    except KeyError as missing:
        raise InvalidArrayFile(f"Xception arrays: {missing} is missing") from missing
    except ValueError as error:
        raise InvalidArrayFile(f"Xception arrays do not fit the network: {error}") from error


def _keras_kernels(arrays: Mapping[str, NDArray[Any]], name: str) -> list[NDArray[np.float32]]:
    part = "pointwise_kernel" if "sepconv" in name else "kernel"
    kernels = [read_kernel(arrays, name, part).transpose(2, 3, 1, 0)]
    if "sepconv" in name:
        depthwise = np.asarray(arrays[f"{name}|depthwise_kernel"], dtype=np.float32)
        kernels.insert(0, depthwise[:, :, 0].transpose(2, 3, 0, 1))
    return kernels


def _bias_only(bias: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Returns gamma, beta, mean and variance of a normalisation that computes x + bias."""
    ones, zeros = np.ones_like(bias), np.zeros_like(bias)
    return [ones, np.asarray(bias), zeros, ones - np.float32(BN_EPSILON)]
