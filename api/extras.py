"""Modules that need more than serving does."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def with_extra(module: str, extra: str = "train") -> Any:
    """The module; ends the command with status 2 where the extra is not installed."""
    from api.terminal import end

    try:
        return import_module(module)
    except ImportError as error:
        end(f"this needs the extra `{extra}` ({error}): pip install 'deepguard[{extra}]'")
