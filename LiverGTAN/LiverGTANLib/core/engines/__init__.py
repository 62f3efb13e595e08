"""Two engines for one forward pass: numpy, always there, and torch, where it is installed.

An engine takes the model grid (D, H, W) float32 in [-1, 1], whose sides are multiples of `student.multiple`,
and returns logits of the same shape, float32.
"""

import importlib.util
import sys

import numpy as np

from ..weight_file import Student
from .engine import Engine, EngineError
from .timing import seconds

ENGINES = ("numpy", "torch")
AUTOMATIC = "auto"


def has_torch() -> bool:
    """Whether torch could be imported, found out without importing it."""
    return is_torch_loaded() or ("torch" not in sys.modules and importlib.util.find_spec("torch") is not None)


def is_torch_loaded() -> bool:
    """Whether something in this process has imported torch already."""
    return sys.modules.get("torch") is not None


def describe() -> dict[str, str]:
    """What was found for each engine, in words for the person; imports nothing."""
    if is_torch_loaded():
        torch = f"torch {sys.modules['torch'].__version__}, loaded"
    else:
        torch = "torch is installed" if has_torch() else "torch is not installed (not needed)"
    return {"numpy": f"numpy {np.__version__}, always available", "torch": torch}


def create(student: Student, name: str = AUTOMATIC) -> Engine:
    """The engine of this name for `student`.

    "auto" never waits for an import: it takes torch only where something else has loaded it already and a
    measurement finds it faster, and numpy otherwise. Raises EngineError when torch is asked for but not there.
    """
    if name == AUTOMATIC:
        return _faster(student) if is_torch_loaded() else create(student, "numpy")
    if name == "numpy":
        from .numpy_engine import NumpyEngine

        return NumpyEngine(student)
    if name == "torch":
        if not has_torch():
            raise EngineError("torch is not installed in this Python; choose the numpy engine, which needs nothing.")
        return _torch_engine(student)
    raise EngineError(f"There is no engine {name!r}; choose one of {', '.join((AUTOMATIC, *ENGINES))}.")


def _torch_engine(student: Student) -> Engine:
    try:
        from .torch_engine import TorchEngine

        return TorchEngine(student)
    except (ImportError, OSError, RuntimeError) as error:  # a damaged installation, a driver that does not fit
        raise EngineError(f"torch is installed but does not work ({error}); choose the numpy engine.") from error


def _faster(student: Student) -> Engine:
    numpy_engine = create(student, "numpy")
    try:
        torch_engine = create(student, "torch")
        return min((numpy_engine, torch_engine), key=lambda engine: seconds(engine.forward, student))
    except (EngineError, RuntimeError):
        return numpy_engine
