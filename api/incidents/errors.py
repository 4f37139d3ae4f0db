"""What goes wrong with incidents, besides what `api.errors` has for the API.

InvalidBundle        an exported incident cannot be read
"""

from __future__ import annotations


class InvalidBundle(Exception):
    """Not an exported incident, or one that cannot be read; the message says what of it."""
