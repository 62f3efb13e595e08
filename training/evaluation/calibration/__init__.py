"""Calibration of a student's probabilities near the liver's border."""
