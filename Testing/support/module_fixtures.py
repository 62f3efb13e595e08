"""What the tests of the module share: the module file, and the engines that are given to it."""

import hashlib
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from LiverGTANLib.core.engines.engine import Cancelled, Engine
from LiverGTANLib.core.engines.factory import InstalledEngines, TorchPackage
from support import band_student

ROOT = Path(__file__).resolve().parents[2]
MODULE_FILE = ROOT / "LiverGTAN" / "LiverGTAN.py"


class GatedEngine:
    """A real engine that runs once its gate is open, unless it is canceled before: a large scan on a slow computer."""

    def __init__(self, engine: Engine, gate: threading.Event):
        self.name, self.student = engine.name, engine.student
        self._engine, self._gate = engine, gate
        self.images: list[bytes] = []  # a digest of each that was asked for: the body's check asks for mirrored ones

    def forward(self, x_DHW, progress=None, cancelled=None):
        self.images.append(hashlib.blake2b(np.ascontiguousarray(x_DHW).data).digest())
        for step in range(10000):
            if progress:
                progress(min(0.9, step / 1000), "Working")
            if cancelled and cancelled():
                raise Cancelled
            if self._gate.wait(0.002):
                return self._engine.forward(x_DHW, progress, cancelled)
        raise TimeoutError("The gate was never opened.")


class TorchNotLoaded(TorchPackage):
    """torch as in a Slicer that has just started, though other tests of this process have loaded it.

    "automatic" is numpy then, alone or among all tests. Else every test would time both engines for seconds, and the
    load of the computer would decide which of them it runs on.
    """

    def is_loaded(self) -> bool:
        return False


class HandMadeStudents(InstalledEngines):
    """The real engines on students whose answer on the phantom is known, under the names of the bundled ones.

    folder: with their files. gate: engines made from now on wait for it. error: making an engine raises it. torch:
    what `has_torch` says.
    """

    def __init__(self, folder: Path):
        super().__init__(torch=TorchNotLoaded())
        self.folder = folder
        self.gate: threading.Event | None = None
        self.error: Exception | None = None
        self.torch = super().has_torch()
        self.made: list[Engine] = []

    def create(self, student: str, engine: str) -> Engine:
        if self.error:
            raise self.error
        path = self.folder / f"{student}.npz"
        made = super().create(str(path) if path.is_file() else student, engine)
        self.made.append(GatedEngine(made, self.gate) if self.gate else made)
        return self.made[-1]

    def has_torch(self) -> bool:
        return self.torch


@pytest.fixture(scope="session")
def studentFiles(tmp_path_factory) -> Path:
    """The files of the hand-made students, written to the disk once; to copy, as tests replace them."""
    folder = tmp_path_factory.mktemp("Models")
    for name in ("student-100k", "student-30k"):
        band_student.save(folder, name)
    return folder


@pytest.fixture
def students(tmp_path, studentFiles):
    """The engines that the module of the test is given."""
    return HandMadeStudents(Path(shutil.copytree(studentFiles, tmp_path / "Models")))


@pytest.fixture
def gate(students):
    """Makes runs wait until this event is set."""
    students.gate = threading.Event()
    yield students.gate
    students.gate.set()


@pytest.fixture
def logic(slicerHost, students):
    """The logic as a script has it, which must never see a pop-up."""
    slicerHost.loadModule(MODULE_FILE)
    import LiverGTAN

    yield LiverGTAN.LiverGTANLogic(students)
    assert not slicerHost.dialogs.messages, "a script must never see a pop-up"
