"""Where media units come from: live peers and files."""
