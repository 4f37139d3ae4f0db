"""Evaluation and calibration of a trained model."""
