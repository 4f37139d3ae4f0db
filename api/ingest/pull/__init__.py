"""Streams that the service fetches by itself: from cameras, servers and SFUs."""
