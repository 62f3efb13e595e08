"""Cases on real Dask workers of this computer: what they write, and what is left when one dies or is stopped."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.standalone.cohort.case_segmentation import CaseTask, request_of
from LiverGTANLib.standalone.cohort.cases import CohortCase
from LiverGTANLib.standalone.cohort.dask_cluster import segment_on_cluster
from LiverGTANLib.standalone.image_files import read_header
from LiverGTANLib.standalone.voxel_data import read_voxels
from support import band_student
from support.cases import ROOT
from support.cohort_cases import bandStudent, rowsOf, segment, write_ct

psutil = pytest.importorskip("psutil", reason="Dask is not installed (group cluster)")
distributed = pytest.importorskip("distributed", reason="Dask is not installed (group cluster)")
pytestmark = pytest.mark.slow
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def inputs(tmp_path, count: int) -> Path:
    for number in range(count):
        write_ct(tmp_path / "in" / f"ct{number}.nii.gz", 1 + number / 100)
    return tmp_path / "in"


def whole(folder: Path) -> set[str]:
    """The masks in an output folder, each of which is read, and nothing half-written beside them."""
    assert not list(folder.rglob(".partial*"))
    masks = {path.name for path in folder.glob("*.seg.nrrd")}
    assert all(read_voxels(read_header(folder / name)).any() for name in masks)
    return masks


def test_two_workers_write_what_one_process_writes(bandStudent, tmp_path, capsys):
    top = inputs(tmp_path, 3)
    (top / "bad.nii.gz").write_bytes(b"no image")
    for name, options in (("here", ()), ("there", ("--cluster", "local:2"))):
        assert segment(bandStudent, top, "-o", tmp_path / name, *options) == 2
        assert "3 of 4 segmented" in capsys.readouterr().out
    here, there = (rowsOf(tmp_path / name) for name in ("here", "there"))
    assert list(here) == list(there)
    for name, row in here.items():
        assert row | {"seconds": ""} == there[name] | {"seconds": ""}
    for name in whole(tmp_path / "there"):
        masks = [read_voxels(read_header(tmp_path / folder / name)) for folder in ("here", "there")]
        np.testing.assert_array_equal(*masks)
    segment(bandStudent, top / "ct*.nii.gz", "-o", tmp_path / "there", "--cluster", "local:2")
    assert "3 of 3 segmented, 3 of them before" in capsys.readouterr().out


DEADLY = """
import os, signal
from LiverGTANLib.standalone.cohort.case_segmentation import CaseTask

class DeadlyTask(CaseTask):
    @property
    def target(self):
        if os.getpid() != int(os.environ["LIVERGTAN_TEST_PROCESS"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.folder / self.output
"""
"""A case that ends every process, but that of the test, which looks at where its mask goes."""


@contextmanager
def running(*words: str, cwd: Path):
    """A program without this project on its path, which is ended with the block."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=cwd, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def strangers(tmp_path: Path):
    """Address of a scheduler with two workers that know neither the program nor the student."""
    file = tmp_path / "scheduler.json"
    place = ("--scheduler-file", str(file))
    worker = ("distributed.cli.dask_worker", *place, "--nthreads", "2", "--no-dashboard", "--host", "127.0.0.1")
    scheduler = ("distributed.cli.dask_scheduler", *place, "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
    here = tmp_path / "elsewhere"
    with running(*scheduler, cwd=here), running(*worker, cwd=here), running(*worker, cwd=here):
        while not file.exists():
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


@posix
def test_workers_get_program_and_student_and_a_case_that_kills_them_costs_no_other(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    deadly = importlib.import_module("deadly").DeadlyTask
    top, out = inputs(tmp_path, 5), tmp_path / "out"
    student = band_student.save(tmp_path / "student", "band")
    engine = InstalledEngines().create(str(student), "numpy")
    for file in student.parent.iterdir():
        file.unlink()  # no worker can read it
    (out / "records").mkdir(parents=True)
    settings = PostprocessSettings()
    tasks = [
        (deadly if path.stem == "ct1.nii" else CaseTask)(
            CohortCase(path), path.stem, f"{path.stem}.seg.nrrd", out, settings, request_of(engine.student, settings)
        )
        for path in sorted(top.iterdir())
    ]
    monkeypatch.setenv("LIVERGTAN_TEST_PROCESS", str(os.getpid()))
    with strangers(tmp_path) as address:
        records = {record.id: record for record in segment_on_cluster(address, tasks, engine)}
    assert [task.id for task in tasks if records[task.id].error] == ["ct1.nii"]
    assert "ended while it was segmented" in records["ct1.nii"].error
    assert whole(out) == {task.output for task in tasks} - {"ct1.nii.seg.nrrd"}


def isLive(process, group: int) -> bool:
    """Whether a process is at work in a group."""
    try:
        return os.getpgid(process.pid) == group and process.status() != "zombie"
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


@posix
def test_after_ctrl_c_what_is_finished_stays_and_the_next_run_goes_on(bandStudent, tmp_path):
    top, out = inputs(tmp_path, 12), tmp_path / "out"
    words = ["segment", str(top), "-o", str(out), "--student", str(bandStudent), "--cluster", "local:2"]

    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "LiverGTANLib", *words],
            cwd=ROOT / "LiverGTAN",
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    process = start()
    end = time.monotonic() + 120
    while not list(out.glob("*.seg.nrrd")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers hear it too
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    finished = whole(out)
    assert finished and (out / "cohort.html").is_file()
    rows = rowsOf(out)
    assert {row["output"] for row in rows.values() if not row["error"]} <= finished
    workers = [worker for worker in psutil.process_iter() if isLive(worker, process.pid)]
    assert not psutil.wait_procs(workers, timeout=60)[1]  # the system ends them after their parent
    process = start()
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert "cases are done already" in said
    assert len(whole(out)) == 12 and not any(row["error"] for row in rowsOf(out).values())


@pytest.mark.parametrize(
    "cluster, words",
    [
        ("local:0", "no number of workers"),
        ("local", "no number of workers"),
        ("ssh:", "Give the hosts"),
        ("slurm:2", "sbatch is not on the path"),
        ("here:2", "There is no cluster here:2"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(bandStudent, tmp_path, capsys, monkeypatch, cluster, words):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert segment(bandStudent, inputs(tmp_path, 1), "-o", tmp_path / "out", "--cluster", cluster) == 2
    assert words in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.seg.nrrd"))


def test_without_dask_a_cluster_is_refused_and_all_else_works(bandStudent, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    top = inputs(tmp_path, 1)
    assert segment(bandStudent, top, "-o", tmp_path / "out", "--cluster", "local:2") == 2
    assert "Workers need Dask (distributed;" in capsys.readouterr().err
    assert segment(bandStudent, top, "-o", tmp_path / "out") == 0
