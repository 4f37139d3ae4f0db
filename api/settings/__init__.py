"""Settings from environment variables, and the configurations made from them."""
