"""Sources of media units: live RTP and video files."""
