"""Calibration of a student's probabilities near the border; `card_entry` is what a card keeps of it."""

from .report import card_entry, text, write
from .run import calibrate

__all__ = ["calibrate", "card_entry", "text", "write"]
