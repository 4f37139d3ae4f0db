"""Training, calibration and export. The only code that imports TensorFlow."""
