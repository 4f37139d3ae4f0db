"""Measured against bars; never part of `make test`."""
