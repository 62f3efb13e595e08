"""Runs in Slicer, which `start.py` starts with it: all of `LiverGTANTest`, then the end of the application.

Argument: a folder, which gets `report.json`, screenshots, and `traceback.txt` when the application crashes or hangs.
"""

import faulthandler
import json
import sys
import unittest
from pathlib import Path

import slicer


def main(folder: Path, dumpAfterSeconds: float) -> None:
    trace = (folder / "traceback.txt").open("w", encoding="utf-8")
    faulthandler.enable(trace)
    faulthandler.dump_traceback_later(dumpAfterSeconds, file=trace)
    slicer.util.selectModule("LiverGTAN")
    import LiverGTAN

    LiverGTAN.LiverGTANTest.screenshotFolder = str(folder)
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(LiverGTAN.LiverGTANTest)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    problems = [(str(test), text) for test, text in (*result.failures, *result.errors)]
    report = {"slicer": slicer.app.applicationVersion, "tests": result.testsRun, "problems": problems}
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    faulthandler.cancel_dump_traceback_later()
    passed = result.testsRun > 0 and result.wasSuccessful()
    slicer.util.exit(slicer.util.EXIT_SUCCESS if passed else slicer.util.EXIT_FAILURE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
