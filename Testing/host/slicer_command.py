"""A command line as Slicer's, on the host: `python -m host.slicer_command --testing --python-script FILE ARGUMENTS`.

What qSlicerCoreApplication::handleCommandLineArguments does with these options: modules of the additional paths are
loaded, the script runs as `__main__` with its arguments; with `--testing` the application then ends, with 1 if an
exception left the script or a slot, unless the script has asked for another exit code (slicer.util.exit).
"""

from __future__ import annotations

import argparse
import runpy
import sys
import tempfile
import traceback
from pathlib import Path

import slicer

from host.slicerhost import SlicerHost

OTHER_MODULE = Path(__file__).parent / "Data.py"
"""A module beside the one that is tested, under the name of one of Slicer's own."""

SEGMENT_EDITOR = OTHER_MODULE.with_name("SegmentEditor.py")


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("--testing", "--no-splash", "--ignore-slicerrc"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--additional-module-paths", nargs=1, default=[])
    parser.add_argument("--python-script")
    return parser.parse_known_args()


def main() -> int:
    options, arguments = _options()
    with tempfile.TemporaryDirectory() as folder:
        host = SlicerHost(folder)
        slicer.app.testing = options.testing
        host.loadModule(OTHER_MODULE)
        host.loadModule(SEGMENT_EDITOR)
        for path in options.additional_module_paths:
            host.loadModule(Path(path, f"{Path(path).name}.py"))
        host.completeStartup()
        sys.argv[1:] = arguments
        try:
            runpy.run_path(options.python_script, run_name="__main__")
        except Exception:
            traceback.print_exc()
            host.uncaught.append(sys.exc_info()[1])
        failed = bool(host.takeUncaught())
        exitCode = slicer.app.exitCode if slicer.app.exitCode is not None else int(failed)
        host.close()
    return exitCode


if __name__ == "__main__":
    sys.exit(main())
