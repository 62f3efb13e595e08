"""How large an image may be: checked against its header before room is made for it."""

import os
from math import prod
from pathlib import Path

from ..core.volume import InputError

MOST_VOXELS = 2**31
"""1024 x 1024 x 2048: more than any CT of the trunk has."""


def require_size(shape: tuple[int, ...], bytes_per_voxel: int, path: Path) -> None:
    """Raise InputError when an image of this shape is larger than any CT, or than the memory of this computer."""
    voxels = prod(int(n) for n in shape)
    size = " x ".join(str(n) for n in reversed(shape))
    if voxels > MOST_VOXELS:
        raise InputError(f"{path} claims {size} voxels, more than any CT has; it is damaged.")
    memory = _memory_bytes()
    if memory and voxels * bytes_per_voxel > memory:
        raise InputError(
            f"{path} has {size} voxels, {voxels * bytes_per_voxel / 1e9:.1f} GB, and this computer {memory / 1e9:.1f} "
            "GB of memory; crop the scan to the abdomen."
        )


def _memory_bytes() -> int | None:
    """All memory of the computer, None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
