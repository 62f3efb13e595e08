"""`make test-in-slicer`: its exit code tells success from failure, crash, hang and a test that never ran."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from application import start

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def slicerThat(tmp_path):
    """Makes an executable that takes Slicer's options and does what the lines of a shell script say."""

    def make(*lines: str) -> str:
        path = tmp_path / "Slicer"
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    if os.name != "posix":
        pytest.skip("its executables are shell scripts")
    return make


def report(tests: int, *problems: str) -> str:
    """A line of the shell script that writes a report; the folder is the last argument but one."""
    text = json.dumps({"slicer": "5.12", "tests": tests, "problems": [[name, "trace"] for name in problems]})
    return f"""for last; do folder=$before; before=$last; done; echo '{text}' > "$folder/report.json" """


CASES = {
    "all is well": ([report(1)], 0),
    "a test fails": ([report(1, "runTest (segmentByOneClick)"), "exit 1"], 1),
    "a test fails, and Slicer ends with 0": ([report(1, "runTest (segmentByOneClick)")], 1),
    "an error in the script": (["exit 1"], 1),
    "another exit code": ([report(1), "exit 7"], 7),
    "the module is not there, and Slicer ends with 0": ([], 1),
    "no test is found": ([report(0)], 1),
    "a crash": (["kill -SEGV $$"], 128 + 11),
    "a crash after the report": ([report(1), "kill -ABRT $$"], 128 + 6),
}


@pytest.mark.parametrize("case", CASES)
def test_the_exit_code_tells_how_it_went(slicerThat, tmp_path, case, capfd):
    lines, code = CASES[case]
    assert start.main([slicerThat(*lines), "--output", str(tmp_path / "out")]) == code
    assert "Screenshots and report" in capfd.readouterr().err


def test_a_report_of_an_earlier_run_does_not_count(slicerThat, tmp_path):
    assert start.main([slicerThat(report(1)), "--output", str(tmp_path)]) == 0
    assert start.main([slicerThat("true"), "--output", str(tmp_path)]) == 1


def test_a_hang_is_ended_with_everything_that_was_started(slicerThat, tmp_path):
    """Slicer's executable is a launcher, which the application is a child of."""
    pidFile = tmp_path / "pid"
    slicer = slicerThat("sleep 600 &", f"echo $! > {pidFile}", "wait")
    assert start.main([slicer, "--output", str(tmp_path / "out"), "--timeout", "2"]) == start.TIMED_OUT
    child = int(pidFile.read_text(encoding="utf-8"))
    for _ in range(100):
        if not isAlive(child):
            return
        time.sleep(0.05)
    pytest.fail("the child goes on")


def isAlive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_wrong_path_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        start.main([str(tmp_path / "missing"), "--output", str(tmp_path)])
    assert ended.value.code == 2 and "Give the path of Slicer's executable" in capsys.readouterr().err


def test_the_options_are_those_of_slicers_own_tests(slicerThat, tmp_path):
    slicer = slicerThat(f'printf "%s\\n" "$@" > {tmp_path}/options')
    start.main([slicer, "--output", str(tmp_path / "out")])
    options = (tmp_path / "options").read_text(encoding="utf-8").splitlines()
    assert options[:4] == ["--testing", "--no-splash", "--ignore-slicerrc", "--additional-module-paths"]
    assert Path(options[4], "LiverGTAN.py").is_file() and options[5] == "--python-script"
    assert Path(options[6]).is_file() and options[7] == str(tmp_path / "out")


@pytest.mark.slow
def test_make_runs_every_journey_through_the_command_line(slicerThat, tmp_path):
    """With the host in Slicer's place, so that the script that runs inside is the one that will run there."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    make = shutil.which("make") or pytest.skip("make is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "Testing"), "QT_QPA_PLATFORM": "offscreen"}
    slicer = slicerThat(f'exec "{sys.executable}" -m host.slicer_command "$@"')
    words = [make, "test-in-slicer", f"SLICER={slicer}", f"SCREENSHOTS={tmp_path}/shots", f"PYTHON={sys.executable}"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "shots" / "report.json").read_text(encoding="utf-8"))
    assert found["tests"] == 1 and found["problems"] == []
    shots = {path.stem for path in (tmp_path / "shots").glob("*.png")}
    assert {"segmented", "corrected", "restricted", "preview", "uncertain", "several", "refused"} <= shots


@pytest.mark.slow
def test_an_error_inside_becomes_the_exit_code(slicerThat, tmp_path, monkeypatch):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('in the script')\n", encoding="utf-8")
    monkeypatch.setattr(start, "SCRIPT", broken)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "Testing"))
    slicer = slicerThat(f'exec "{sys.executable}" -m host.slicer_command "$@"')
    assert start.main([slicer, "--output", str(tmp_path / "out")]) == 1
