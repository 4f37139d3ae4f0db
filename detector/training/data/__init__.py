"""Training data: data sets, samples, degradations, pseudo-fakes and batches."""
