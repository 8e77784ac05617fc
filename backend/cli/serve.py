"""`main.py serve`: the server, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from backend.base.config import parse, parser
from backend.base.errors import BadInput, Problem

DESCRIPTION = "Start the server with its page and API. Flags that scripts of the ecosystem pass are all understood."


def main(argv: Sequence[str]) -> int:
    """Serve; 0 after an orderly end, 1 when the server cannot start, 2 when the command line is wrong."""
    if "-h" in argv or "--help" in argv:
        made = parser("main.py serve")
        made.usage, made.description = "python main.py serve [flags]", DESCRIPTION
        made.print_help()
        return 0
    try:
        settings = parse(argv)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    from backend.front import run

    try:
        return run(settings)
    except KeyboardInterrupt:  # where the loop cannot take signals
        return 0
    except Problem as error:
        print(error, file=sys.stderr)
        return 1
