"""`python -m runtime`: what `refinenet segment` does, with nothing but the runtime installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from runtime.app.segment_command import segment
from runtime.arguments import run_command

PROGRAM = "python -m runtime"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda given: segment(given, PROGRAM), PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
