"""Sources of live video: WHIP sessions, RTP receivers, and streams that the service pulls."""
