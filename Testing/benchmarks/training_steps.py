"""Processor time of training steps by method, in float32 and bf16; prints a Markdown table.

What is timed is what `fit` runs, on two scans made up of noise, of which one is labelled, with a teacher of random
weights: the batch of views, the teacher's answers, then forward, losses, backward and update of all trained networks.
Views are drawn on other threads while a step computes, so with a second processor a step takes the longer of the two.
Each row is measured in a process of its own, because allocator and threads are set for the whole process.

    make benchmark-training_steps [ARGUMENTS="--threads 2 --steps 10"]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "LiverGTAN")]
TEACHER = (16, 32, 64, 128)
STUDENTS = {"100k": (5, 10, 20, 30), "30k": (4, 6, 12, 13)}
METHODS = {  # row -> (kind, shares of the run at which the assistant grows)
    "labels alone": ("student", (1.0,)),
    "KD": ("kd", (1.0,)),
    "GTAN, assistant of the student's size": ("gtan", (1.0,)),
    "GTAN, half grown": ("gtan", (0.0, 1.0)),
    "GTAN, of the teacher's size": ("gtan", (0.0,)),
}
PRECISIONS = ("32-true", "bf16-mixed")
SCAN = (160, 224, 256)


def scans(folder: Path) -> Path:
    """A scan bank of a labelled and an unlabelled scan."""
    import numpy as np

    from training.data import scan_bank
    from training.data.scan_bank import ScanToStore

    random = np.random.default_rng(0)
    label = np.zeros(SCAN, np.uint8)
    label[40:110, 60:160, 40:150] = 255
    made = []
    for number in range(2):
        hu = random.normal(60, 40, SCAN).astype(np.float32)
        hu[:, :20], hu[90:, 60:140, 40:120] = -1000, -800
        made.append(ScanToStore(f"scan{number}", f"patient{number}", 1.0, "", hu, None if number else label))
    about = {"spacing_mm": 2.0, "hu_window": [-160.0, 240.0], "origin": "noise"}
    return scan_bank.write(folder / "scans", iter(made), about).path


def measure(row: str, student: str, precision: str, threads: int, steps: int) -> list[float]:
    """Milliseconds of processor time a step for views (mean), teacher and the rest (medians)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `python -m training` does before torch is loaded
    from training.data.batches import Batches
    from training.fit import loop, machine, train
    from training.model.nets import UNet3D
    from training.options import Config, DataSettings, GrowthSettings, MachineSettings, Roles

    kind, grow_at = METHODS[row]
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            data=DataSettings(bank=(), scans=scans(Path(folder))),
            growth=GrowthSettings(grow_at=grow_at),
            machine=MachineSettings(accelerator="cpu", threads=threads, precision=precision),
        )
        fabric = machine.start(config)
        train.teachers_of = lambda *_: [UNet3D(TEACHER)]
        task = train.student_task(train.Method(kind), Roles(student_widths=STUDENTS[student]), config, None)
        run = loop.TrainingRun(task, config, fabric, Path(folder) / "checkpoint.pt")
        batches = Batches(config, 0, 1, fabric.device)
        rows = []
        for _ in range(steps + 2):
            run.grow_if_due()
            marks = [time.process_time()]
            batch = batches.at(run.step)
            marks.append(time.process_time())
            known = run.teacher_outputs(batch, False)
            marks.append(time.process_time())
            run.update(batch, known)
            marks.append(time.process_time())
            rows.append([1000 * (after - before) for before, after in pairwise(marks)])
    views, teacher, rest = zip(*rows[2:], strict=True)
    return [statistics.fmean(views), statistics.median(teacher), statistics.median(rest)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--student", choices=STUDENTS, default="100k")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", help="both where bf16 is native, else 32-true")
    parser.add_argument("--one", nargs=2, metavar=("ROW", "PRECISION"), help="measure one and print the numbers")
    options = parser.parse_args()
    if options.one:
        row, precision = options.one
        print(*measure(row, options.student, precision, options.threads, options.steps))
        return
    from training.fit.machine import best_precision

    print(f"Processor time of a step in ms, student {options.student}, {options.threads} threads\n")
    print("| Method | precision | views | teacher | networks and losses | steps a second without views |")
    print("|---|---|---|---|---|---|")
    common = ["--threads", str(options.threads), "--steps", str(options.steps), "--student", options.student]
    for precision in options.precision or sorted({"32-true", best_precision()}):
        for row in METHODS:
            words = [sys.executable, __file__, *common, "--one", row, precision]
            answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            views, teacher, rest = map(float, answer.split())
            rate = 1000 / (teacher + rest)
            print(f"| {row} | {precision} | {views:.0f} | {teacher:.0f} | {rest:.0f} | {rate:.2f} |", flush=True)


if __name__ == "__main__":
    main()
