"""The engines of this Python: numpy, always there, and torch, where it is installed and works."""

import importlib
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import weight_file
from ..weight_file import Student
from .engine import Engine, EngineError
from .numpy_engine import NumpyEngine
from .timing import seconds

logger = logging.getLogger(__name__)

ENGINES = ("numpy", "torch")
AUTOMATIC = "auto"


class TorchPackage:
    """torch in this Python: found without importing it, imported when it is first asked for an engine.

    error: why the last engine could not be made or run, empty if none failed.
    """

    def __init__(self, name: str = "torch") -> None:
        self._name = name
        self._dtypes: dict[tuple[int, ...], Any] = {}
        self.error = ""

    def is_installed(self) -> bool:
        """Whether torch could be imported; it is not imported for this."""
        return self.is_loaded() or importlib.util.find_spec(self._name) is not None

    def is_loaded(self) -> bool:
        """Whether something in this process has imported it already."""
        return sys.modules.get(self._name) is not None

    def engine(self, student: Student) -> Engine:
        """A new engine; those of students of the same widths compute in the type that was faster for the first.

        It is measured once: that takes a second or two, and the types may differ in single voxels. Raises EngineError
        that says what failed and what to choose instead.
        """
        if not self.is_installed():
            raise EngineError("torch is not installed in this Python; choose the numpy engine, which needs nothing.")
        try:
            importlib.import_module(self._name)
            from .torch_engine import TorchEngine

            made = TorchEngine(student, dtype=self._dtypes.get(student.widths))
            self._dtypes[student.widths] = made.dtype
            return made
        except (ImportError, OSError, RuntimeError) as error:  # a damaged installation, a driver that does not fit
            self.error = " ".join(str(error).split()) or type(error).__name__
            raise EngineError(
                f"torch is installed but does not work ({self.error}); choose the numpy engine."
            ) from error

    def describe(self) -> str:
        """For the user: version, or why it cannot be used."""
        if self.error:
            return f"torch does not work ({self.error})"
        if self.is_loaded():
            return f"torch {getattr(sys.modules[self._name], '__version__', '')}, loaded"
        return "torch is installed" if self.is_installed() else "torch is not installed (not needed)"


class InstalledEngines:
    """Students and the engines that run them here.

    load: student by name or file. torch: where the torch engine comes from.
    """

    def __init__(self, load: Callable[[str], Student] = weight_file.load, torch: TorchPackage | None = None) -> None:
        self._load = load
        self._torch = torch or TorchPackage()
        self._fastest: dict[tuple[int, ...], str] = {}
        self._choosing = threading.Lock()

    def create(self, student: str, engine: str = AUTOMATIC) -> Engine:
        """A new engine. student: name or file. Raises StudentError and EngineError with a sentence."""
        return self.engine_for(self._load(student), engine)

    def engine_for(self, student: Student, engine: str = AUTOMATIC) -> Engine:
        """A new engine for a student.

        "auto" never waits for an import: it takes torch only where something else has loaded it already and a
        measurement finds it faster, and numpy otherwise. It chooses once for students of the same widths: the masks of
        both engines may differ in single voxels, and a CT must not get another one each time. Raises EngineError when
        torch is asked for but does not work.
        """
        if engine == "numpy":
            return NumpyEngine(student)
        if engine == "torch":
            return self._torch.engine(student)
        if engine == AUTOMATIC:
            return self._automatic(student)
        raise EngineError(f"There is no engine {engine!r}; choose one of {', '.join((AUTOMATIC, *ENGINES))}.")

    def has_torch(self) -> bool:
        """Whether torch is installed; imports nothing."""
        return self._torch.is_installed()

    def describe(self) -> str:
        """What there is to run a student on, and what of it turned out not to work, for the user; imports nothing."""
        return f"numpy {np.__version__}, always available; {self._torch.describe()}"

    def _automatic(self, student: Student) -> Engine:
        numpy_engine = NumpyEngine(student)
        with self._choosing:
            if student.widths not in self._fastest:
                self._fastest[student.widths] = self._measure(numpy_engine)
            return numpy_engine if self._fastest[student.widths] == "numpy" else self._torch.engine(student)

    def _measure(self, numpy_engine: NumpyEngine) -> str:
        """Name of the engine that is faster for the student of the given one."""
        student = numpy_engine.student
        if not self._torch.is_loaded():
            return "numpy"
        try:
            engines = (numpy_engine, self._torch.engine(student))
            times = {engine.name: seconds(engine.forward, student) for engine in engines}
        except EngineError as error:
            self._torch.error = self._torch.error or str(error)
            logger.warning("The torch engine cannot be used; numpy is.", exc_info=True)
            return "numpy"
        return min(times, key=times.__getitem__)
