"""Training steps per second by role, plainly and as the loop runs them; prints a Markdown table.

Plainly: float32, torch's default memory layout, allocator and waiting threads. The loop: bf16 where native,
channels-last, freed memory kept, waiting threads asleep. Each setting runs in a process of its own, because allocator
and threads are set for the whole process.

    make benchmark-training_steps [ARGUMENTS="--threads 2 --steps 10"]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
ROLES = {
    "teacher": (16, 32, 64, 128),
    "assistant": (9, 18, 36, 62),
    "student-100k": (5, 10, 20, 30),
    "student-30k": (4, 6, 12, 13),
}
SETTINGS = ("plain", "loop")
SHAPE = (2, 1, 64, 96, 112)


def measure(role: str, setting: str, threads: int, steps: int) -> float:
    """Steps per second of forward, loss, backward and update on random volumes, without reading data."""
    if setting == "loop":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `python -m training` does before torch is loaded
    import torch

    from training.fit import machine
    from training.model import losses
    from training.model.nets import UNet3D

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net, image = UNet3D(ROLES[role]), torch.randn(SHAPE)
    precision = "32-true"
    if setting == "loop":
        machine.keep_freed_memory()
        precision = machine.best_precision()
        net = net.to(memory_format=torch.channels_last_3d)
        image = image.contiguous(memory_format=torch.channels_last_3d)
    label = (torch.rand(SHAPE) > 0.9).float()
    weights, known = torch.ones(SHAPE), torch.ones(SHAPE[0])
    optimizer = torch.optim.AdamW(net.parameters())
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = net(image)
        losses.segmentation(logits.float(), label, weights, known).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return 1 / sorted(times[2:])[steps // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", nargs=2, metavar=("ROLE", "SETTING"), help="measure one and print the number")
    options = parser.parse_args()
    if options.one:
        print(measure(*options.one, options.threads, options.steps))
        return
    print(f"Steps per second, batch {SHAPE[0]} of {SHAPE[2]} x {SHAPE[3]} x {SHAPE[4]}, {options.threads} threads\n")
    print("| Role | plain | loop | ratio |\n|---|---|---|---|")
    for role in ROLES:
        words = [sys.executable, __file__, "--threads", str(options.threads), "--steps", str(options.steps)]
        rates = [
            float(subprocess.run([*words, "--one", role, setting], capture_output=True, text=True, check=True).stdout)
            for setting in SETTINGS
        ]
        print(f"| {role} | {rates[0]:.2f} | {rates[1]:.2f} | {rates[1] / rates[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
