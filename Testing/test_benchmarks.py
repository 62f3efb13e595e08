"""That every benchmark runs, those on something tiny that the tests of the documents do not run with `--quick`, and
what they do beyond that."""

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
from benchmarks import click_to_mask, peers

from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.nifti import write_nifti
from support import real_cases
from training.data import samples

ROOT = Path(__file__).resolve().parents[1]

SMALLEST = (32, 32, 32)
"""Fewest cells that the published networks have levels for."""


@pytest.mark.slow
def test_published_networks_answer_for_every_cell():
    pytest.importorskip("monai", reason="MONAI is not installed (group test)")
    nets = peers.published_networks()
    assert len(nets) == 3
    for forward in nets.values():
        logits = forward(np.zeros(SMALLEST, np.float32))
        assert logits.shape[1:] == SMALLEST and np.isfinite(logits).all()


def test_the_scan_on_a_finer_grid_fills_the_same_space():
    ct, _ = phantom_ct((6.0, 6.0, 6.0))
    fine = click_to_mask.large(ct, (90, 52, 100))
    assert fine.shape == (90, 52, 100) and fine.hu.mean() == pytest.approx(ct.hu.mean(), abs=10)
    for corner in (-0.5, 0.5):
        places = [
            one.ijk_to_ras @ [*((np.array(one.shape[::-1]) - 1) / 2 + corner * np.array(one.shape[::-1])), 1]
            for one in (ct, fine)
        ]
        np.testing.assert_allclose(*places, atol=1e-6)


def test_two_engines_are_compared_run_by_run(capsys):
    times = {"numpy": [{"total": 1.0}, {"total": 3.0}], "torch": [{"total": 2.0}, {"total": 6.0}]}
    click_to_mask.table("both", times)
    assert "paired ratio numpy / torch of the total: median 0.50" in capsys.readouterr().out


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder with two expert-labelled CTs, and a sample CT, all of them coarse phantoms; large scans are not."""
    for number, name in enumerate(("msd_liver_03", "msd_liver_05")):
        ct, liver = phantom_ct((6.0, 6.0, 6.0 + number))
        for ending, array in (("", ct.hu), ("_liver", liver)):
            path = tmp_path / "data" / "ct" / f"{name}{ending}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(path, array, ct.ijk_to_ras)
    monkeypatch.setenv("LIVERGTAN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(samples, "fetch", lambda: samples.CACHE)
    monkeypatch.setattr(samples, "CT", tmp_path / "data" / "ct" / "msd_liver_03.nii.gz")
    monkeypatch.setattr(real_cases.held_out, "sample_cases", lambda *_: [])
    monkeypatch.setattr(click_to_mask, "large", lambda ct: CtVolume(ct.hu, ct.ijk_to_ras, "large"))


ON_CASES = {
    "edge_aware": ("--write", "{folder}/found.md"),
    "interval_coverage": ("--labelled", "--write", "{folder}/found.md"),
    "orientation": (),
    "proportions": (),
}
"""Benchmark -> arguments, of those on CTs with a reference; the others need a scene."""
IN_A_SCENE = {
    "cut_plane": ("1",),
    "follow": ("1",),
    "review": (),
    "sequence": ("2",),
    "surface": ("1", "--quick", "--pictures", "{folder}"),
}


def said_by(name, arguments, folder, monkeypatch, capsys):
    """What a benchmark prints."""
    monkeypatch.setattr(sys, "argv", [name, *(word.format(folder=folder) for word in arguments)])
    import_module(f"benchmarks.{name}").main()
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_CASES)
def test_what_is_measured_on_cases_is_told_of_each_student(name, tiny, tmp_path, monkeypatch, capsys):
    if name == "edge_aware":
        pytest.importorskip("tabulate", reason="tabulate is not installed (group training)")
    said = said_by(name, ON_CASES[name], tmp_path, monkeypatch, capsys)
    assert "student-100k" in said and "student-30k" in said
    if "--write" in ON_CASES[name]:
        written = (tmp_path / "found.md").read_text(encoding="utf-8")
        assert written.strip() in said and "msd_liver_03" in written and "msd_liver_05" in written


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_A_SCENE)
def test_what_is_measured_in_a_scene_is_told(name, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(import_module("benchmarks.follow"), "STREAM_SECONDS", 0.5)
    said = said_by(name, IN_A_SCENE[name], tmp_path, monkeypatch, capsys)
    assert len(said.splitlines()) > 3 and any(sign.isdigit() for sign in said.splitlines()[-1])
    assert "--pictures" not in IN_A_SCENE[name] or list(tmp_path.glob("surface-*.png"))


@pytest.mark.slow
def test_the_command_line_is_measured_over_a_few_cts(tiny, tmp_path, monkeypatch, capsys):
    pytest.importorskip("psutil", reason="psutil is not installed (group benchmark)")
    cohort = import_module("benchmarks.cohort")
    monkeypatch.setattr(cohort, "WAYS", {"one process": ()})
    said = said_by("cohort", ("2",), tmp_path, monkeypatch, capsys)
    assert said.splitlines()[-1].startswith("one process") and said.count(" MB") == 1


@pytest.mark.slow
def test_steps_of_every_method_are_measured(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed (group training)")
    steps, train = import_module("benchmarks.training_steps"), import_module("training.fit.train")
    monkeypatch.setattr(train, "teachers_of", train.teachers_of)  # `measure` replaces it
    monkeypatch.setattr(steps, "SCAN", (120, 170, 160))
    monkeypatch.setattr(steps, "TEACHER", (3, 4))
    monkeypatch.setattr(steps, "STUDENTS", {"tiny": (2, 3)})
    for row in steps.METHODS:
        views, teacher, rest = steps.measure(row, "tiny", "32-true", 1, 1)
        assert views > 0 and rest > 0 and teacher >= 0


def test_every_benchmark_is_run_by_a_test():
    """Those in `make benchmark` and simulated_clicks by the tests of the documents; answers and peers by speed."""
    elsewhere = {"click_to_mask", "interaction", "speed", "simulated_clicks", "answers", "peers"}
    files = {file.stem for file in (ROOT / "Testing" / "benchmarks").glob("*.py")}
    assert files == {*ON_CASES, *IN_A_SCENE, "cohort", "training_steps"} | elsewhere


def test_make_installs_once_and_gives_each_benchmark_the_arguments_that_it_knows(tmp_path):
    make = shutil.which("make") or pytest.skip("there is no make")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n', encoding="utf-8")
    python.chmod(0o755)
    words = [make, "benchmark", f"VENV={tmp_path}", "ARGUMENTS=7 --write", "SLICES=0"]
    for _ in range(2):
        subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert sum("--group benchmark" in call for call in calls) == 1
    assert [call for call in calls if "benchmarks." in call] == 2 * [
        "-m benchmarks.click_to_mask 7",
        "-m benchmarks.interaction 7",
        "-m benchmarks.speed 7 --write --slices 0",
    ]
