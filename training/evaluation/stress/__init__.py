"""The hard cases one by one: what a student makes of plain CT, effusions, large spleens, chests without a liver ...

`run.measure_conditions` measures, `report.card_entries` gives a card its lines.
"""

from training.evaluation.stress.report import card_entries

__all__ = ["card_entries"]
