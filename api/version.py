"""The installed version of the package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("deepguard")
    except PackageNotFoundError:    # a checkout that is not installed
        return "0+unknown"


VERSION = _installed()
