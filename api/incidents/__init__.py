"""Alarms that are kept: with their evidence, for review, and told to others."""
