"""The machine under the loop: Fabric, precision, allocator, signals, and errors in a sentence."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from LiverGTANLib.core.engines.torch_engine import FEWEST_BF16_VOXELS
from training.errors import UserError
from training.model.nets import UNet3D
from training.options import Config, MachineSettings

logger = logging.getLogger(__name__)

FEWEST_PROCESSORS = 8
"""From so many on, processes draw the views: 14 of them drew at least 15 batches a second of 2 x 96 x 144 x 160 voxels,
measured with batches that travelled in float32."""


def start(config: Config) -> Fabric:
    """Fabric for the configured machine, launched; seeds and threads set, the allocator tuned."""
    torch.set_num_threads(config.machine.threads)
    keep_freed_memory()
    fabric = launched(config.machine)
    if config.loop.batch % fabric.world_size:
        raise UserError(
            f"A batch of {config.loop.batch} cannot be shared by {fabric.world_size} processes; "
            "set --batch to a multiple of them."
        )
    torch.use_deterministic_algorithms(config.loop.deterministic)
    torch.backends.cudnn.benchmark = not config.loop.deterministic  # shapes are the same in every step
    return fabric


@functools.cache
def launched(settings: MachineSettings) -> Fabric:
    """One Fabric a process, so that all stages of a command run in the processes that the first one started."""
    fabric = Fabric(
        accelerator=settings.accelerator,
        strategy=settings.strategy,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        precision=cast(Any, best_precision() if settings.precision == "auto" else settings.precision),
    )
    fabric.launch()
    return fabric


def best_precision() -> str:
    """On the processor bf16-mixed where it is native, else float32: emulated bf16 is many times slower.

    On a GPU float32, of which cuDNN's convolutions make TF32: on an H100 a step of a student of 30,000 parameters took
    4.7 ms, 7.1 to 9.7 with bf16; one of the teacher 5.7, 6.1 to 6.6 (batch of two volumes of 80 x 112 x 128).
    """
    if torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def precision(fabric: Fabric) -> str:
    """The precision in which Fabric really computes: it replaces one that the device lacks."""
    return str(fabric._precision.precision)


def require_computable(nets: Iterable[UNet3D], shape: tuple[int, ...], fabric: Fabric) -> None:
    """Raises UserError when the networks cannot take volumes of this shape (D, H, W), or not in this precision.

    bf16 on the processor: see `LiverGTANLib.core.engines.torch_engine.TorchEngine.dtype_for`.
    """
    multiple = max(net.multiple for net in nets)
    if any(n % multiple for n in shape):
        raise UserError(f"The bank has volumes of {shape}; this network needs multiples of {multiple}.")
    thin = min(shape) // multiple < FEWEST_BF16_VOXELS
    if thin and fabric.device.type == "cpu" and precision(fabric).startswith("bf16"):
        raise UserError(
            f"On the processor bf16 convolutions go wrong for volumes as thin as {shape} on the deepest level; "
            "use --precision 32-true, or a bank of larger volumes."
        )


def drawing_threads(settings: MachineSettings, fabric: Fabric) -> int:
    """How many batches to prepare at a time: one where the GPU draws the views, else one for as many processors as a
    step takes, because most of a view is drawn on one thread, which takes as long as a small student's step.

    At most 4: each takes about 200 MB.
    """
    if fabric.device.type != "cpu":
        return 1
    return min(4, max(1, (os.cpu_count() or 1) // (settings.threads * fabric.world_size)))


def drawing_processes(settings: MachineSettings, fabric: Fabric) -> int:
    """How many processes draw batches for a GPU, 0 for none.

    Drawn by the GPU beside its steps, batches came at 9 to 11 a second to a teacher whose step takes an H100 a
    hundredth of a second, because one thread tells the GPU both what to draw and what to compute.
    """
    if fabric.device.type == "cpu":
        return 0
    if settings.workers is not None:
        return settings.workers
    processors = (os.cpu_count() or 1) // fabric.world_size
    return processors - 2 if processors >= FEWEST_PROCESSORS else 0


def placed(net: UNet3D, fabric: Fabric) -> UNet3D:
    """On the device. Weights lie channels-last on the processor, where oneDNN convolves few channels faster that way;
    cuDNN does so more slowly (5.7 against 4.7 ms for the step in `best_precision`)."""
    layout = torch.channels_last_3d if fabric.device.type == "cpu" else torch.contiguous_format
    return cast(UNet3D, cast(Any, net).to(device=fabric.device, memory_format=layout))


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks: returning and clearing large ones each step cost a third of a step's time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block gets its own mapping
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system
    except (OSError, AttributeError) as error:
        logger.debug("No glibc, so its allocator is left as it is (%s).", error)


def prepare_drawing(_: int) -> None:
    """In a process that draws batches: signals are for the one that trains, which ends the others."""
    for number in TerminationRequest.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()


class TerminationRequest:
    """Remembers a SIGTERM or Ctrl-C, so that the loop can leave with a checkpoint; a second one ends it at once.

    Signals reach the main thread alone.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received, self.on_main_thread = False, threading.current_thread() is threading.main_thread()

    def __enter__(self) -> TerminationRequest:
        if self.on_main_thread:
            self.former_handlers = [signal.signal(number, self) for number in self.SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        if self.on_main_thread:
            for number, handler in zip(self.SIGNALS, self.former_handlers, strict=True):
                signal.signal(number, handler)

    def __call__(self, *_: object) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True


def any_process(flag: bool, fabric: Fabric) -> bool:
    """Whether the flag is set in any process; all must leave the loop at the same step."""
    if fabric.world_size == 1:
        return flag
    total = fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")
    return bool(cast(torch.Tensor, total) > 0)


@contextlib.contextmanager
def clear_errors(file: Path) -> Iterator[None]:
    """Turns running out of memory and vanished files into a sentence that says how to go on."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(f"Out of memory ({error}); lower --batch. {what_is_saved(file)}") from error
    except FileNotFoundError as error:
        raise UserError(f"Training data vanished ({error}); bring them back. {what_is_saved(file)}") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise UserError(f"Out of memory ({error}); lower --batch. {what_is_saved(file)}") from error


def what_is_saved(file: Path) -> str:
    """What remains of the work so far, as a sentence."""
    return f"Then the same command goes on from {file}." if file.exists() else "No step was saved yet."
