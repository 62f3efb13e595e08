"""What a run trains on: banks of finished volumes, views of real CTs drawn on the fly, or both on one grid."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from training.data import augment, scan_views
from training.data.bank import Bank, BankError
from training.data.joined import Joined
from training.data.scan_bank import ScanBank, split_record
from training.data.scan_views import Window
from training.errors import UserError
from training.options import DataSettings

Volume = tuple[torch.Tensor, torch.Tensor, bool]
"""Image (D, H, W) in [-1, 1], liver fraction in [0, 1], and whether the label counts."""


class TrainingData:
    """An endless sequence of augmented volumes, each a function of seed and position alone.

    Raises BankError when nothing is given, or banks and scans that do not fit together.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        self.banks = Joined(settings.bank) if settings.bank else None
        self.scans = DrawnScans(settings) if settings.scans else None
        if self.banks is None and self.scans is None:
            raise BankError("There is nothing to train on; name folders with --bank, with --scans, or both.")
        if self.banks:
            require_spacing(self.banks.banks[0], settings)
        self.stored = self._stored_numbers()
        if self.banks and self.scans:
            self.scans.require_grid(self.banks)
        self.share = 0.0 if self.scans is None else settings.scan_share if self.banks else 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume along S, A, R."""
        return self.banks.banks[0].shape if self.banks else self.settings.window

    @property
    def spacing_mm(self) -> float:
        """Voxel size of a volume."""
        return self.banks.banks[0].meta["spacing_mm"] if self.banks else self.settings.spacing_mm

    @property
    def sources(self) -> set[str]:
        """Names of the maps and CTs that volumes come from."""
        names = {self.banks.record(n)["source"] for n in range(len(self.banks))} if self.banks else set()
        return names | ({record.name for record in self.scans.records} if self.scans else set())

    @cached_property
    def contents(self) -> dict[str, str]:
        """Hash of the HU -> name, of the CTs that volumes come from, where it is recorded."""
        stored = {content: name for bank in self._banks for name, content in bank.meta.get("contents", {}).items()}
        return stored | ({record.content: record.name for record in self.scans.records} if self.scans else {})

    @cached_property
    def sketches(self) -> dict[str, list[str]]:
        """Sketch (`copy_checks`) of the CTs that volumes come from, where it is recorded, by the hash of the HU: two
        banks may have different CTs of one name. Of a CT without such a hash, by its name."""
        stored = {
            bank.meta.get("contents", {}).get(name, name): hashes
            for bank in self._banks
            for name, hashes in bank.meta.get("sketches", {}).items()
        }
        packed = self.scans.bank.about.get("sketches", {}) if self.scans else {}
        drawn = self.scans.records if self.scans else []
        return stored | {record.content: packed[record.name] for record in drawn if record.name in packed}

    @property
    def unhashed(self) -> list[Path]:
        """Banks with volumes of real CTs that do not record what these hold."""
        return [
            bank.path
            for bank in self._banks
            if "contents" not in bank.meta and any(record.get("kind") == "real" for record in bank.records.values())
        ]

    @property
    def splits(self) -> list[Path]:
        """Where the split of the data sets may be recorded."""
        records = [bank.path / "split.json" for bank in self._banks]
        return [*records, split_record(self.scans.bank.path)] if self.scans else records

    @property
    def labelled(self) -> bool:
        """Whether any volume has a label."""
        stored = any(record["labelled"] for bank in self._banks for record in bank.records.values())
        return stored or (self.scans is not None and any(record.labelled for record in self.scans.records))

    @property
    def _banks(self) -> list[Bank]:
        return self.banks.banks if self.banks else []

    def require_whole(self) -> None:
        """Raises UserError for a bank that is not finished, BankError for banks and scans that are not as they were
        made."""
        for bank in self._banks:
            if len(bank) < bank.count:
                raise UserError(
                    f"The bank {bank.path} holds {len(bank)} of {bank.count} volumes; finish it by the `synthesize` "
                    "command that began it."
                )
            bank.require_unchanged()
        if self.scans:
            self.scans.bank.require_unchanged(self.scans.numbers)

    def parts(self) -> list[tuple[str, int, str]]:
        """(name of the folder, how many volumes or scans, digest) of each part, for the record of a run."""
        parts = [*self._banks, *([self.scans.bank] if self.scans else ())]
        return [(part.path.name, len(part), part.digest()) for part in parts]

    def volume(self, position: int, seed: int, device: torch.device) -> Volume:
        """The volume at a position. Scans and banks alternate so that every stretch has its share of both."""
        drawn_before = int(position * self.share)
        if self.scans and int((position + 1) * self.share) > drawn_before:
            return self.scans.view(drawn_before, position, seed, device)
        return self._stored(position - drawn_before, position, seed, device)

    def still_there(self) -> None:
        """Raises FileNotFoundError when a folder was removed: a mapped file would be read on in silence."""
        if self.banks:
            self.banks.still_there()
        if self.scans:
            os.stat(self.scans.bank.path / "scans.json")

    def _stored_numbers(self) -> list[int]:
        """The volumes of the banks that are drawn. Raises BankError when none is left."""
        if self.banks is None:
            return []
        drawn = [
            n for n in range(len(self.banks)) if not self.settings.labelled_only or self.banks.record(n)["labelled"]
        ]
        if not drawn:
            raise BankError("No volume of the banks has a label, and --labelled-only leaves out all others.")
        return drawn

    def _stored(self, place: int, position: int, seed: int, device: torch.device) -> Volume:
        """Each epoch visits every stored volume once, in an order of its own."""
        assert self.banks is not None
        epoch, place = divmod(place, len(self.stored))
        order = np.random.default_rng([seed, epoch]).permutation(len(self.stored))
        image, label, labelled = self.banks[self.stored[int(order[place])]]
        view = augment.draw(self.settings.augment, np.random.default_rng([seed, position, 1]))
        seen = augment.apply(torch.from_numpy(image).to(device), torch.from_numpy(label).to(device), view)
        return *seen, labelled


def require_spacing(bank: Bank, settings: DataSettings) -> None:
    """Raises BankError for a bank of other cells than the settings say, by which a checkpoint knows its grid."""
    found = bank.meta.get("spacing_mm", settings.spacing_mm)
    if found != settings.spacing_mm:
        raise BankError(
            f"The volumes of {bank.path} have cells of {found} mm and the settings {settings.spacing_mm} mm; set "
            "--spacing-mm to the bank's."
        )


class DrawnScans:
    """The scans of which views are drawn: those of all patients but the ones that are left out."""

    def __init__(self, settings: DataSettings) -> None:
        assert settings.scans is not None
        self.settings, self.bank = settings, ScanBank(settings.scans)
        self.window = Window(settings.window, settings.spacing_mm)
        patients = {record.patient for record in self.bank.records}
        unknown = sorted(set(settings.leave_out) - patients)
        if unknown:
            raise BankError(f"--leave-out names {', '.join(unknown)}; the patients are {', '.join(sorted(patients))}.")
        self.numbers = [
            n
            for n, record in enumerate(self.bank.records)
            if record.patient not in settings.leave_out and (record.labelled or not settings.labelled_only)
        ]
        self.records = [self.bank.records[n] for n in self.numbers]
        if not self.records:
            raise BankError(
                f"Every patient of {settings.scans} is left out{' or unlabelled' * settings.labelled_only}."
            )

    @cached_property
    def chances(self) -> np.ndarray:
        """Probability of each scan."""
        weights = np.array([record.weight for record in self.records])
        return weights / weights.sum()

    def view(self, drawn_before: int, position: int, seed: int, device: torch.device) -> Volume:
        """A view of one of the scans; those of equal weight take turns: none comes again before all came."""
        random = np.random.default_rng([seed, position, 1])
        which = int(random.choice(len(self.records), p=self.chances))
        if len(set(self.chances)) == 1:
            epoch, place = divmod(drawn_before, len(self.records))
            which = int(np.random.default_rng([seed, epoch, 2]).permutation(len(self.records))[place])
        number, record = self.numbers[which], self.records[which]
        image, label = self.bank.arrays(number)
        view = scan_views.draw(
            record.liver,
            image.shape,
            self.bank.spacing_mm,
            self.window,
            self.settings.views,
            self.settings.augment,
            random,
        )
        return *scan_views.render(image, label, view, self.window, device), record.labelled

    def require_grid(self, banks: Joined) -> None:
        """Raises BankError when the banks have other volumes than the views."""
        bank = banks.banks[0]
        for name, ours, theirs in (
            ("voxels", tuple(self.window.shape), tuple(bank.shape)),
            ("voxel size", self.window.spacing_mm, bank.meta.get("spacing_mm")),
            ("HU window", tuple(self.bank.hu_window), tuple(bank.meta.get("hu_window", ()))),
        ):
            if ours != theirs:
                raise BankError(
                    f"Views of {self.bank.path} and volumes of {bank.path} differ in {name} ({ours}, {theirs}); "
                    "set --window and --spacing-mm to the banks'."
                )
