"""The command line: `deepguard COMMAND`."""
