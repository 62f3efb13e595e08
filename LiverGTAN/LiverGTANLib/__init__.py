"""LiverGTAN: liver segmentation in CT by a tiny student network, on numpy alone or on torch.

Nothing is imported here: Slicer loads each part when it is first needed.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    # `python -m` is still looking for the program while this runs: there one line will do, Slicer logs an error.
    raise (SystemExit if sys.argv[:1] == ["-m"] else ImportError)(
        "LiverGTAN needs Python 3.10 or newer, in 3D Slicer version 5.10 or newer; this is Python {}.{}.".format(
            *sys.version_info[:2]
        )
    )
