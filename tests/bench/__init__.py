"""Benchmarks with limits; not part of `make test`."""
