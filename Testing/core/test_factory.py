"""Which engine one gets, what is said where torch is missing, damaged or fails, and where students come from."""

import dataclasses
import importlib
import logging

import numpy as np
import pytest

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.engines import factory
from LiverGTANLib.core.engines.engine import EngineError
from LiverGTANLib.core.engines.factory import ENGINES, InstalledEngines, TorchPackage
from LiverGTANLib.core.weight_file import StudentError
from support.cases import randomStudent


class TorchOnNoDevice(TorchPackage):
    """The real torch engine on torch's device for shapes without values: it is made, and fails when it is run."""

    def is_loaded(self) -> bool:
        return True

    def engine(self, student):
        from LiverGTANLib.core.engines.torch_engine import TorchEngine

        return TorchEngine(student, device="meta")


@pytest.fixture
def damaged(tmp_path, monkeypatch) -> TorchPackage:
    """A package that is there and cannot be imported, as after a broken update."""
    folder = tmp_path / "damaged_torch"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise OSError('libtorch.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return TorchPackage("damaged_torch")


def test_automatic_takes_numpy_without_looking_further_where_torch_is_not_loaded():
    missing = InstalledEngines(torch=TorchPackage("no_such_torch"))
    assert missing.engine_for(randomStudent()).name == "numpy"
    assert not missing.has_torch()
    assert missing.describe().endswith("torch is not installed (not needed)")


@pytest.mark.slow
def test_automatic_takes_one_of_both_where_torch_is_loaded():
    torch = pytest.importorskip("torch")
    engines = InstalledEngines()
    assert engines.engine_for(randomStudent()).name in ENGINES
    assert engines.describe() == f"numpy {np.__version__}, always available; torch {torch.__version__}, loaded"


def test_automatic_chooses_once_whatever_the_machine_does_meanwhile(monkeypatch):
    pytest.importorskip("torch")
    times = iter([2.0, 1.0, 1.0, 2.0])  # numpy and torch, twice: load has changed which is faster
    monkeypatch.setattr(factory, "seconds", lambda forward, student: next(times))
    engines = InstalledEngines()
    assert [engines.engine_for(randomStudent()).name for _ in range(3)] == ["torch"] * 3


def test_the_type_that_torch_computes_in_is_measured_once(monkeypatch):
    torch = pytest.importorskip("torch")
    from LiverGTANLib.core.engines import torch_engine

    times = iter([2.0, 1.0, 1.0, 2.0])  # float32 and bf16, twice: load has changed which is faster
    monkeypatch.setattr(torch_engine, "has_fast_bf16", lambda: True)
    monkeypatch.setattr(torch_engine, "best_device", lambda: "cpu")
    monkeypatch.setattr(torch_engine, "MOST_ROUNDING", np.inf)  # of a processor that computes bf16 wrong
    monkeypatch.setattr(torch_engine, "seconds", lambda forward, student: next(times))
    engines = InstalledEngines()
    assert [engines.engine_for(randomStudent(), "torch").dtype for _ in range(3)] == [torch.bfloat16] * 3


def test_engines_that_do_not_exist_are_refused():
    with pytest.raises(EngineError, match="no engine 'abacus'; choose one of auto, numpy"):
        InstalledEngines().engine_for(randomStudent(), "abacus")
    with pytest.raises(EngineError, match="not installed in this Python; choose the numpy engine"):
        InstalledEngines(torch=TorchPackage("no_such_torch")).engine_for(randomStudent(), "torch")


def test_a_damaged_torch_is_an_error_that_says_why_and_is_described_from_then_on(damaged):
    engines = InstalledEngines(torch=damaged)
    assert engines.describe().endswith("torch is installed")
    with pytest.raises(
        EngineError, match=r"does not work \(libtorch.so: cannot open shared object file\); choose the numpy"
    ):
        engines.engine_for(randomStudent(), "torch")
    assert engines.describe().endswith("torch does not work (libtorch.so: cannot open shared object file)")


def test_a_torch_that_fails_is_logged_and_automatic_does_without(caplog):
    pytest.importorskip("torch")
    engines = InstalledEngines(torch=TorchOnNoDevice())
    with caplog.at_level(logging.WARNING):
        assert engines.engine_for(randomStudent(), "auto").name == "numpy"
    [record] = caplog.records
    assert record.exc_info and "numpy" in record.getMessage()
    assert "torch does not work (torch failed on meta" in engines.describe()
    with pytest.raises(EngineError, match="torch failed on meta"):
        engines.engine_for(randomStudent(), "torch").forward(np.zeros((16, 16, 16), np.float32))


def test_students_come_from_where_the_constructor_says():
    asked = []

    def load(name: str) -> weight_file.Student:
        asked.append(name)
        return dataclasses.replace(randomStudent(), name=name)

    assert InstalledEngines(load).create("of another source", "numpy").student.name == "of another source"
    assert asked == ["of another source"]
    with pytest.raises(StudentError, match="no student file"):
        InstalledEngines().create("missing", "numpy")
