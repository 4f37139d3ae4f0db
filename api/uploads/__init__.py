"""Uploaded files: received onto disk, judged as jobs, and their cached verdicts."""
