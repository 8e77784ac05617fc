"""Emulsion: `python main.py [serve | run | convert | pack | doctor] ...`. Without a command it serves."""

from __future__ import annotations

import sys
from collections.abc import Sequence

HELP = """Emulsion: node graphs that make images.

usage: python main.py [serve] [flags]         start the server and its editor (the default)
       python main.py run GRAPH [flags]       run one graph and save its pictures
       python main.py convert IN OUT [flags]  turn a workflow into its other form, or take it out of a picture
       python main.py pack ACTION [flags]     list, install, update, try and switch off node packs
       python main.py doctor [flags]          look at devices, folders and versions, and run a small model

`python main.py COMMAND --help` lists the flags of a command. Without a command, flags are those of serve."""


def main(argv: Sequence[str]) -> int:
    """Hand over to the command; its exit status. Each is imported when asked for, so that the server starts without the others."""
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in ("serve", "run", "convert", "pack", "doctor") else ("serve", argv)
    if list(argv) in (["--help"], ["-h"], ["help"]):
        print(HELP)
        return 0
    if argv and not argv[0].startswith("-") and command == "serve" and argv[0] != "serve":
        print(f"There is no command {argv[0]!r}.\n\n{HELP}", file=sys.stderr)
        return 2
    if command == "run":
        from backend.cli import run

        return run.main(rest)
    if command == "convert":
        from backend.cli import convert

        return convert.main(rest)
    if command == "pack":
        from backend.cli import pack

        return pack.main(rest)
    if command == "doctor":
        from backend.cli import doctor

        return doctor.main(rest)
    from backend.cli import serve

    return serve.main(rest)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
