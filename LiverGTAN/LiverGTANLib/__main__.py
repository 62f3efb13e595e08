"""`python -m LiverGTANLib`: the command line, see `standalone.command_line`."""

import sys

from .standalone.exit_status import exit_status

INTERRUPTED = 130
"""What shells give a program that Ctrl-C ended."""


def start() -> int:
    """Exit status. Loading the libraries takes a second, in which Ctrl-C may come too."""
    try:
        from .standalone.command_line import main
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    try:
        return main()
    except KeyboardInterrupt:  # `main` said so
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(exit_status(start))
