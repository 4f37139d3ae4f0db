"""Errors of incidents, besides those in `api.errors`.

InvalidBundle   a file is not a readable incident export
"""

from __future__ import annotations


class InvalidBundle(Exception):
    """The file is not a readable incident export. The message names the invalid part."""
