"""`main.py serve`: the server, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from backend.base.config import parse, parser
from backend.base.errors import BadInput, Problem

PARENT = "EMULSION_PARENT"  # environment: end when the process of this id, our parent, is gone
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

    if os.environ.get(PARENT):
        threading.Thread(target=_follow, args=(int(os.environ[PARENT]),), name="parent", daemon=True).start()
    try:
        return run(settings)
    except KeyboardInterrupt:  # where the loop cannot take signals
        return 0
    except Problem as error:
        print(error, file=sys.stderr)
        return 1


def _follow(parent: int, every: float = 1.0) -> None:
    """End this process in order once its parent has died without saying so."""
    while os.getppid() == parent:
        time.sleep(every)
    os.kill(os.getpid(), signal.SIGTERM)
