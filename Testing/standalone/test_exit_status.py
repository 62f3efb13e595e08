"""Programs whose output nobody reads any more, as behind `| head`, end without a word; other broken pipes do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from LiverGTANLib.standalone.exit_status import exit_status

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "LiverGTAN"
PROGRAM = "import sys; from LiverGTANLib.standalone.exit_status import exit_status; sys.exit(exit_status(main))"


def statusWithoutReader(words, folder=LIBRARY, **environment):
    """Exit status and standard error of a Python program whose standard output is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=os.environ | environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has other errors for pipes")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "main",
    [
        "print('short', flush=True) or 0",  # while the program runs
        "print('short') or 0",  # as it ends
        "print('x' * 1_000_000) or 0",
        "print('help') or sys.exit(0)",
    ],
)
def test_a_program_that_nobody_reads_ends_without_a_word(main, unbuffered):
    program = f"import sys\nmain = lambda: {main}\n{PROGRAM}"
    assert statusWithoutReader(["-c", program], PYTHONUNBUFFERED=unbuffered) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other errors for pipes")
def test_the_command_line_without_a_reader_says_nothing():
    status, said = statusWithoutReader(["-m", "LiverGTANLib", "segment", "--help"])
    assert said == "" and status in (0, 141)  # argparse passes over what it cannot print of its help


def test_a_pipe_of_another_kind_stays_an_error(capsys):
    def main() -> int:
        raise BrokenPipeError("the connection to a worker")

    with pytest.raises(BrokenPipeError, match="worker"):
        exit_status(main)


def test_the_status_of_a_program_is_passed_on(capsys):
    assert exit_status(lambda: print("done") or 7) == 7
    assert capsys.readouterr().out == "done\n"
