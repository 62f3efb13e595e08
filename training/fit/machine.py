"""The machine under the loop: Fabric, precision, allocator, signals, and errors said in a sentence."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric

from training.errors import UserError
from training.model.nets import UNet3D
from training.options import Config, MachineSettings


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
    return fabric


@functools.cache
def launched(settings: MachineSettings) -> Fabric:
    """One Fabric a process, so that all stages of a command run in the processes that the first one started."""
    fabric = Fabric(
        accelerator=settings.accelerator,
        strategy=settings.strategy,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        precision=best_precision() if settings.precision == "auto" else settings.precision,
    )
    fabric.launch()
    return fabric


def best_precision() -> str:
    """bf16-mixed where it is native, else fp32: emulated bf16 is many times slower."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def placed(net: UNet3D, fabric: Fabric) -> UNet3D:
    """On the device, weights channels-last: oneDNN and cuDNN convolve few channels faster that way."""
    return net.to(device=fabric.device, memory_format=torch.channels_last_3d)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks: returning and clearing large ones each step costs a third of it here."""
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tune
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block gets its own mapping
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system


class Terminated:
    """Remembers a SIGTERM, so that the loop can leave with a checkpoint. On other threads signals are not ours."""

    def __init__(self) -> None:
        self.asked, self.ours = False, threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Terminated:
        if self.ours:
            self.before = signal.signal(signal.SIGTERM, self)
        return self

    def __exit__(self, *_: object) -> None:
        if self.ours:
            signal.signal(signal.SIGTERM, self.before)

    def __call__(self, *_: object) -> None:
        self.asked = True


def any_process(flag: bool, fabric: Fabric) -> bool:
    """Whether the flag is set in any process; all must leave the loop at the same step."""
    if fabric.world_size == 1:
        return flag
    return bool(fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum") > 0)


@contextlib.contextmanager
def clear_errors(file: Path) -> Iterator[None]:
    """Turns running out of memory and vanished files into a sentence that says how to go on."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(f"Out of memory ({error}); lower --batch. {going_on(file)}") from error
    except FileNotFoundError as error:
        raise UserError(f"Training data vanished ({error}); bring them back. {going_on(file)}") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise UserError(f"Out of memory ({error}); lower --batch. {going_on(file)}") from error


def going_on(file: Path) -> str:
    """What became of the work so far."""
    return f"Then the same command goes on from {file}." if file.exists() else "No step was saved yet."
