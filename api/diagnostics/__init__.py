"""The checks of `deepguard doctor`."""
