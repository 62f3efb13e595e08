"""A small bank and small settings for the tests of training."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from LiverGTANLib.core.volume import SPACING_MM
from training.data import scan_bank
from training.data.bank import Bank
from training.data.scan_bank import ScanToStore
from training.options import Config, DataSettings, LoopSettings, MachineSettings

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (16, 16, 24)


def makeBank(path: Path, shape: tuple[int, int, int] = SHAPE, spacing_mm: float = SPACING_MM) -> Path:
    """Six volumes with a bright block as liver; the last has no label."""
    bank = Bank.create(path, 6, shape, {"spacing_mm": spacing_mm, "hu_window": [-160, 240], "git": "test"})
    for number in range(6):
        rng = np.random.default_rng(number)
        label = np.zeros(shape, np.float32)
        z, y, x = rng.integers(2, 6, 3)
        label[z : z + 8, y : y + 8, x : x + 12] = 1
        image = np.clip(label - 0.5 + 0.1 * rng.standard_normal(shape), -1, 1)
        bank.write(
            number,
            image,
            label,
            {
                "seed": number,
                "source": f"phantom-{number}",
                "kind": "synthetic",
                "labelled": number != 5,
                "parameters": {},
            },
        )
    return path


def makeScans(path: Path, content: str = "one") -> Path:
    """Three small scans of two patients with a bright block as liver; the last has no label. content: hash of the
    first."""

    def scans() -> Iterator[ScanToStore]:
        for number, (name, patient) in enumerate((("one", "a"), ("two", "b"), ("three", "b"))):
            label = np.zeros(SHAPE, np.uint8)
            label[4:12, 4:12, 6:18] = 255
            noise = np.random.default_rng(number).normal(0, 5, SHAPE)
            hu = np.where(label > 0, 100, -60) + noise
            held = content if name == "one" else name
            yield ScanToStore(name, patient, 1.0, held, hu, None if name == "three" else label)

    about = {"spacing_mm": SPACING_MM, "hu_window": [-160.0, 240.0], "git": "test", "config": {}}
    scan_bank.write(path, scans(), about)
    return path


def smallConfig(bank: Path, **loop) -> Config:
    """A few steps on one thread in float32, every loss logged."""
    settings = {"steps": 6, "warmup": 2, "log_every": 1, "validate_every": 1000} | loop
    return Config(
        data=DataSettings(bank=(bank,)),
        loop=LoopSettings(**settings),
        machine=MachineSettings(accelerator="cpu", threads=1, precision="32-true"),
    )


def takeSteps(run, count: int) -> None:
    """The next steps of a TrainingRun, without log, validation and checkpoint, as before a stop."""
    from training.fit.loop import Prefetcher

    with Prefetcher(run.config, run.fabric, run.step) as batches:
        for _ in range(count):
            run.grow_if_due()
            batch = batches.next()
            run.update(batch, run.teacher_outputs(batch, run.task.features))


def runWithBest(config: Config, folder: Path, dice: float):
    """A run of a small student that was stopped after two steps, which are the best so far; the TrainingRun."""
    from training.fit import loop, machine, methods

    task = methods.supervised("student", (2, 3), config)
    run = loop.TrainingRun(task, config, machine.start(config), folder / "checkpoint.pt")
    takeSteps(run, 2)
    run.save_if_best({"student": {"case": dice}})
    run.save()
    return run


def options(config: Config) -> list[str]:
    """The same settings for the command line."""
    loop, machine = config.loop, config.machine
    return [
        str(word)
        for word in (
            "--bank",
            *config.data.bank,
            "--steps",
            loop.steps,
            "--warmup",
            loop.warmup,
            "--log-every",
            loop.log_every,
            "--validate-every",
            loop.validate_every,
            "--checkpoint-seconds",
            loop.checkpoint_seconds,
            "--accelerator",
            machine.accelerator,
            "--threads",
            machine.threads,
            "--precision",
            machine.precision,
        )
    ]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "training", *map(str, words)]


def trainingProcess(*words: object) -> subprocess.Popen:
    """`python -m training ...` in a process of its own, as a user would start it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*words), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def logged(folder: Path) -> list[tuple[int, str, float]]:
    """The rows of a run's log."""
    with (folder / "log.csv").open(newline="") as stream:
        return [(int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(stream)]


def noValidation(net) -> dict[str, float]:
    """A validation that watches nothing."""
    return {}


def measure_like(dice):
    """Figures of a mask of this Dice."""
    from training.evaluation.metrics import Metrics

    return Metrics(dice, dice, dice, 10 * (1 - dice), 1.0, 900.0, 1000.0)
