"""Benchmarks of the whole service: real servers, real publishers, wall-clock time."""
