"""Start Slicer, let it run `LiverGTANTest`, and tell by the exit code how that went.

`python3 Testing/application/start.py /path/to/Slicer --output FOLDER` needs nothing but Python. The exit code is that
of Slicer; 128 plus the signal's number when it crashed, 124 when it took too long, and 1 when it ended well but left no
report of a test that passed: a module that cannot be loaded does not keep Slicer from ending with 0.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("inside.py")
TIMEOUT_SECONDS = 1200
"""A choice: some minutes on a slow computer without a graphics card, and twice as much as that."""
TIMED_OUT = 124
"""As the command `timeout` of GNU coreutils has it."""


def command(slicer: str, output: Path, timeout: float) -> list[str]:
    """Slicer's own tests are started with the same options (CMake/SlicerMacroPythonTesting.cmake)."""
    module = str(ROOT / "LiverGTAN")
    options = ["--testing", "--no-splash", "--ignore-slicerrc", "--additional-module-paths", module]
    return [slicer, *options, "--python-script", str(SCRIPT), str(output), str(0.9 * timeout)]


def execute(words: list[str], timeout: float) -> int:
    """Run a command to its end or for `timeout` seconds -> exit code."""
    process = subprocess.Popen(words, start_new_session=True)
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        endGroup(process)
        print(f"Slicer was ended after {timeout:.0f} s.", file=sys.stderr)
        return TIMED_OUT
    except KeyboardInterrupt:
        endGroup(process)
        raise
    return code if code >= 0 else 128 - code


def endGroup(process: subprocess.Popen) -> None:
    """End a process and those that it has started: Slicer's executable is a launcher."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    process.wait()


def problems(output: Path) -> list[str]:
    """What keeps the report of a run from saying that the test passed."""
    path = output / "report.json"
    if not path.is_file():
        return ["Slicer left no report: the test did not reach its end."]
    report = json.loads(path.read_text(encoding="utf-8"))
    if not report["tests"]:
        return ["No test was run."]
    return [f"{name}\n{trace}" for name, trace in report["problems"]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slicer", help="the application to start")
    parser.add_argument("--output", type=Path, required=True, help="folder for report, screenshots and tracebacks")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds (default: %(default)s)")
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    for old in (output / "report.json", *output.glob("*.png")):
        old.unlink(missing_ok=True)
    try:
        code = execute(command(options.slicer, output, options.timeout), options.timeout)
    except OSError as error:
        parser.error(f"{options.slicer} cannot be started: {error.strerror}. Give the path of Slicer's executable.")
    found = problems(output)
    print(*found, f"Screenshots and report: {output}", sep="\n", file=sys.stderr)
    return code or int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
