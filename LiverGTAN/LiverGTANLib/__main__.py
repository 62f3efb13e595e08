"""`python -m LiverGTANLib`: the command line, see `standalone.command_line`."""

import sys

from .standalone.command_line import main

if __name__ == "__main__":
    sys.exit(main())
