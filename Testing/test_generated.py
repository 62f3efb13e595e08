"""A small sample of the generated inputs; `make generated-inputs` gives the program 10,000 of them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COUNT = 300


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="checkpoints are read with torch")
@pytest.mark.skipif(sys.platform != "linux", reason="memory and files of the child are limited as Linux does it")
def test_no_generated_input_crashes_hangs_or_is_read_wrong():
    places = os.pathsep.join(str(ROOT / name) for name in ("", "LiverGTAN", "Testing"))
    done = subprocess.run(
        [sys.executable, "-m", "generated", "--count", str(COUNT)],
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    (total,) = [line.split() for line in done.stdout.splitlines() if line.startswith("all ")]
    given, read, refused, *harm = map(int, total[1:])
    assert given >= COUNT and read > COUNT // 5 and refused > COUNT // 5 and not any(harm)
