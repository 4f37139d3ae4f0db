"""Long runs; never part of `make test`."""
