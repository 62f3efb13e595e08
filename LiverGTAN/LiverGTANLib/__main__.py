"""`python -m LiverGTANLib`: the command line, see `standalone.command_line`."""

import sys

from .standalone.command_line import main

INTERRUPTED = 130
"""What shells give a program that Ctrl-C ended."""

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
