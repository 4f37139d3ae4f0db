"""Benches that need the whole service: a real server, real publishers, and the clock."""
