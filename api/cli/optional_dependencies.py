"""Imports of modules whose dependencies are optional extras."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from api.cli.terminal import end
from api.settings.base import keras_backend


class Backend(StrEnum):
    """Backends of Keras; each value is the name of a package."""

    TENSORFLOW = "tensorflow"
    JAX = "jax"
    TORCH = "torch"


def with_extra(module: str, extra: str = "train") -> Any:
    """Returns the module; ends the command with status 2 if the extra is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        end(f"this needs the extra `{extra}` ({error}): pip install 'deepguard[{extra}]'")


def keras_on(wanted: Backend | None) -> None:
    """Selects the backend of Keras, before Keras is imported; None stands for KERAS_BACKEND, or for TensorFlow.

    Ends the command with status 2 if Keras or the backend is not installed. Raises ValueError for an unknown
    KERAS_BACKEND.
    """
    backend = Backend(keras_backend(wanted))
    if find_spec("keras") is None:
        end("this needs the extra `train`: pip install 'deepguard[train]'")
    if find_spec(backend) is None:
        end(f"Keras on {backend} needs the package `{backend}`: pip install {backend}")
