"""`python -m training COMMAND`: see `--help`."""

from __future__ import annotations

import sys

from training import waiting  # noqa: F401  first: it must stand before torch
from training.cli import main

if __name__ == "__main__":
    sys.exit(main())
