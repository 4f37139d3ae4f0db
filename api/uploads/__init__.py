"""Uploaded files: the spool on disk, the jobs that analyze them, and the verdict cache."""
