"""Modules that need more than serving does."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from api.settings.base import keras_backend


class Backend(StrEnum):
    """What Keras can compute on; each is the name of a package."""

    TENSORFLOW = "tensorflow"
    JAX = "jax"
    TORCH = "torch"


def with_extra(module: str, extra: str = "train") -> Any:
    """The module; ends the command with status 2 where the extra is not installed."""
    from api.cli.terminal import end

    try:
        return import_module(module)
    except ImportError as error:
        end(f"this needs the extra `{extra}` ({error}): pip install 'deepguard[{extra}]'")


def keras_on(wanted: Backend | None) -> None:
    """Have Keras compute on a backend (None: as KERAS_BACKEND says, else TensorFlow); before it is first imported.

    Ends the command with status 2 where Keras or the backend is not installed. Raises ValueError for a KERAS_BACKEND
    that is none of these.
    """
    from api.cli.terminal import end

    backend = Backend(keras_backend(wanted))
    if find_spec("keras") is None:
        end("this needs the extra `train`: pip install 'deepguard[train]'")
    if find_spec(backend) is None:
        end(f"Keras on {backend} needs the package `{backend}`: pip install {backend}")
