"""Training, evaluation, calibration and export of models. Needs the `train` extra."""
