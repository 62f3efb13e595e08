"""Several banks as one sequence of volumes: synthetic ones and real ones are made, and remade, apart."""

from __future__ import annotations

import bisect
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

from training.data.bank import Bank, BankError

SAME = ("shape", "spacing_mm", "hu_window", "axes")


class Joined:
    """Finished volumes of the banks, one bank after the other. Raises BankError when their grids differ."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        if not paths:
            raise BankError("No bank was given; name one or several folders with --bank.")
        self.banks = [Bank.open(path) for path in paths]
        for bank, name in itertools.product(self.banks[1:], SAME):
            if bank.meta.get(name) != self.banks[0].meta.get(name):
                raise BankError(f"{bank.path} and {self.banks[0].path} differ in {name}; join banks of one grid.")
        for bank in self.banks:
            if len(bank) == 0:
                raise BankError(f"The bank {bank.path} does not hold a finished volume; run `synthesize` to its end.")
        self.ends = list(itertools.accumulate(map(len, self.banks)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, n: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """See `Bank.__getitem__`."""
        bank, place = self.place(n)
        return bank[place]

    def record(self, n: int) -> dict[str, Any]:
        """See `Bank.record`."""
        bank, place = self.place(n)
        return bank.record(place)

    def place(self, n: int) -> tuple[Bank, int]:
        """The bank that holds volume n, and its number there."""
        if not 0 <= n < len(self):
            raise IndexError(n)
        which = bisect.bisect_right(self.ends, n)
        return self.banks[which], n - (self.ends[which - 1] if which else 0)

    def still_there(self) -> None:
        """Raises FileNotFoundError when a bank was removed: a mapped file would be read on in silence."""
        for bank in self.banks:
            os.stat(bank.path / "images.npy")
