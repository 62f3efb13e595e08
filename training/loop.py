"""The one training loop: every stage of `stages.py` runs on it.

Batch, view and learning rate are functions of (seed, step) alone, so a checkpoint needs no data-loader state and a
resumed run repeats the lost steps bit for bit on a CPU.
"""

from __future__ import annotations

import ctypes
import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from training import checkpoint, progress
from training.config import Config, to_toml
from training.data.batches import Batch, Batches
from training.nets import UNet3D

Outputs = dict[str, torch.Tensor]  # logits_B1DHW of every network, by role


@dataclass
class Task:
    """What one run trains. `nets` are trained together; `teachers` are frozen."""

    name: str
    nets: dict[str, UNet3D]
    objective: Callable[[Outputs, Batch], dict[str, torch.Tensor]]
    teachers: dict[str, UNet3D] = field(default_factory=dict)


@dataclass
class Learner:
    """A network in training with its optimizer and the moving average of its weights."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: UNet3D


def fit(task: Task, config: Config, folder: Path, validate: Callable[[UNet3D], dict[str, float]]) -> Path:
    """Trains the task in `folder` (resuming what is there) and returns its checkpoint.

    `validate` maps a network in eval mode to named figures for the log.
    """
    fabric = start(config)
    learners = {role: learner(net, fabric, config) for role, net in task.nets.items()}
    teachers = {role: prepare(net).eval().to(fabric.device) for role, net in task.teachers.items()}
    file = folder / "checkpoint.pt"
    step = checkpoint.restore(file, learners, fabric.device)
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(to_toml(config))
    batches = Batches(config, fabric.global_rank, fabric.world_size)
    log = progress.Log(folder, task.name, config.loop, step, enabled=fabric.is_global_zero)
    stop = Terminated()
    with ThreadPoolExecutor(1) as ahead, log:
        pending: Future[Batch] = ahead.submit(batches.at, step)
        saved = time.monotonic()
        while step < config.loop.steps and not stop.asked:
            batch, pending = pending.result(), ahead.submit(batches.at, step + 1)
            losses = update(task, learners, teachers, batch.to(fabric.device), fabric, config, step)
            step += 1
            log.losses(step, losses, rate(config, step))
            if step % config.loop.validate_every == 0 or step == config.loop.steps:
                figures = {role: validate(learner.average) for role, learner in learners.items()}
                log.figures(step, figures)
            if time.monotonic() - saved > config.loop.checkpoint_seconds and fabric.is_global_zero:
                checkpoint.write(file, learners, step, config)
                saved = time.monotonic()
    if fabric.is_global_zero:
        checkpoint.write(file, learners, step, config)
    return file


def update(
    task: Task,
    learners: dict[str, Learner],
    teachers: dict[str, nn.Module],
    batch: Batch,
    fabric: Fabric,
    config: Config,
    step: int,
) -> dict[str, torch.Tensor]:
    """One optimizer step of every learner on one batch; the losses."""
    with torch.no_grad(), fabric.autocast():
        outputs = {role: net(batch.image).float() for role, net in teachers.items()}
    outputs |= {role: learner.net(batch.image).float() for role, learner in learners.items()}
    losses = task.objective(outputs, batch)
    fabric.backward(sum(losses.values()))
    for learner in learners.values():
        for group in learner.optimizer.param_groups:
            group["lr"] = rate(config, step)
        fabric.clip_gradients(learner.net, learner.optimizer, max_norm=config.loop.clip, error_if_nonfinite=False)
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        follow(learner, config.loop.average, step)
    return {name: loss.detach() for name, loss in losses.items()}


@torch.no_grad()
def follow(learner: Learner, decay: float, step: int) -> None:
    """Moves the average towards the weights; early on it follows faster, so that the start is forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    average, current = learner.average.state_dict(), unwrapped(learner.net).state_dict()
    names = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in names], [current[n] for n in names], 1 - decay)


def rate(config: Config, step: int) -> float:
    """Learning rate: linear warm-up, then half a cosine down to 1 % of the peak."""
    loop = config.loop
    warm = min(1.0, (step + 1) / max(1, loop.warmup))
    return loop.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / loop.steps))))


def learner(net: UNet3D, fabric: Fabric, config: Config) -> Learner:
    """The network on its device, with optimizer and average."""
    average = prepare(copy_of(net)).eval().requires_grad_(False).to(fabric.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.loop.rate, weight_decay=config.loop.decay)
    wrapped, optimizer = fabric.setup(prepare(net).train(), optimizer)
    return Learner(wrapped, optimizer, average)


def copy_of(net: UNet3D) -> UNet3D:
    """An independent network with the same weights."""
    twin = UNet3D(net.widths, net.stem_size)
    twin.load_state_dict(net.state_dict())
    return twin


def unwrapped(net: nn.Module) -> nn.Module:
    """The plain network below Fabric's and DDP's wrappers."""
    return net if isinstance(net, UNet3D) else unwrapped(net.module)


def prepare(net: UNet3D) -> UNet3D:
    """Channels-last weights: oneDNN and cuDNN convolve few channels faster that way."""
    return net.to(memory_format=torch.channels_last_3d)


def start(config: Config) -> Fabric:
    """Fabric for the configured machine; seeds and threads set, the allocator tuned."""
    torch.set_num_threads(config.machine.threads)
    keep_freed_memory()
    machine = config.machine
    precision = best_precision() if machine.precision == "auto" else machine.precision
    fabric = Fabric(
        accelerator=machine.accelerator,
        strategy=machine.strategy,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        precision=precision,
    )
    fabric.launch()
    torch.manual_seed(config.loop.seed)
    torch.use_deterministic_algorithms(config.loop.deterministic)
    return fabric


def best_precision() -> str:
    """bf16-mixed where it is native, else fp32: emulated bf16 is many times slower."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks: returning and clearing large ones each step costs a third of it here."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block gets its own mapping
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system
    except (OSError, AttributeError):
        pass  # another C library: nothing to tune


class Terminated:
    """Remembers a SIGTERM, so that the loop can leave with a checkpoint."""

    def __init__(self) -> None:
        self.asked = False
        if threading.current_thread() is threading.main_thread():  # elsewhere, whoever runs the loop handles signals
            signal.signal(signal.SIGTERM, self)

    def __call__(self, *_: object) -> None:
        self.asked = True
