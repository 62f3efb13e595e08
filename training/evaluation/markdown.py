"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int | None = None) -> str:
    """A table in GitHub's Markdown. The first `text_columns` (default: all) are aligned to the left, figures right."""
    left = len(head) if text_columns is None else text_columns
    return tabulate(
        [[cell.replace("|", "\\|") for cell in row] for row in rows],
        list(head),
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] * left + ["right"] * (len(head) - left),
    )
