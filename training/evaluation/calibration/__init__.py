"""Calibration of a student's probabilities near the border; `card_entry` is what a card keeps of it."""

from training.evaluation.calibration.report import card_entry, text, write
from training.evaluation.calibration.run import calibrate

__all__ = ["calibrate", "card_entry", "text", "write"]
