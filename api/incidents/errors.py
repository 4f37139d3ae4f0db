"""What goes wrong with incidents, besides what `api.errors` has for the API.

BundleBroken        an exported incident cannot be read
"""

from __future__ import annotations


class BundleBroken(Exception):
    """Not an exported incident, or one that cannot be read; the message says what of it."""
