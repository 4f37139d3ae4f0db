"""Model files: import of checkpoints, quantization, export, and logits of the serving graph."""
