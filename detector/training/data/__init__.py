"""Training data: data sets, samples, degradations, pseudo-fakes, augmentation and batches."""
