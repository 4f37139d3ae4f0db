"""Model files: import of foreign checkpoints, quantisation ranges, export."""
