"""`main.py convert IN OUT`: a workflow in its other form, or out of a picture."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from backend.base.errors import BadFile, Problem
from backend.cli.child import ServerProcess
from backend.cli.run import DONE, UNREACHABLE, USAGE, read
from backend.graph.document import Prompt
from backend.workflow.document import Workflow
from backend.workflow.from_prompt import from_prompt
from backend.workflow.metadata import Embedded
from backend.workflow.to_prompt import to_prompt
from clients.python.emulsion_client import Client, ClientError, Unreachable

DESCRIPTION = """Write a workflow in its other form: what the editor saves becomes a prompt in API format, a prompt becomes a workflow.

IN is JSON in either form, or a PNG, WebP, SVG, FLAC, MP3, Ogg, MP4, WebM, GLB or safetensors file that holds a graph; "-" is
standard input or output.
Without --to, JSON turns into the other form and a picture gives its editor workflow. Which values belong to which inputs is known from
the node types of a server: the one of --server, a file (--definitions), or one of its own that is started for this."""

EPILOG = """exit status:  0 done   2 the file or the command line is wrong   3 no server

examples:
  python main.py convert picture.png workflow.json
  python main.py convert workflow.json prompt.json --server http://127.0.0.1:8188
  python main.py convert workflow.json - --to prompt --definitions object_info.json"""


def parser() -> argparse.ArgumentParser:
    """The command line of `convert`."""
    form = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("main.py convert", description=DESCRIPTION, epilog=EPILOG, formatter_class=form)
    made.add_argument("source", metavar="IN", help="JSON, or a file with a graph in it")
    made.add_argument("target", metavar="OUT", help="JSON file to write")
    made.add_argument("--to", choices=("prompt", "workflow"), help="the form to write")
    made.add_argument("--definitions", metavar="FILE", type=Path, help="node types, as /object_info of a server says them")
    made.add_argument("--server", metavar="URL", help="use this running server")
    made.add_argument("--token", default="", help="what that server asks for, where it was started with --token")
    made.add_argument("--seed", type=int, metavar="N", help="pick among {a|b} texts by chance from N instead of taking the first")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status."""
    options, flags = parser().parse_known_args(argv)
    if (options.server or options.definitions) and flags:
        parser().error(f"there is no server to start, so none to pass {' '.join(flags)} to")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = read(options.source)
        to = options.to or ("prompt" if found.prompt is None else "workflow")
        _write(options.target, _converted(found, to, options, flags))
    except Unreachable as error:
        print(error, file=sys.stderr)
        return UNREACHABLE
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return 130
    except (Problem, ClientError) as error:
        print(error, file=sys.stderr)
        return USAGE
    return DONE


def _converted(found: Embedded, to: str, options: argparse.Namespace, flags: Sequence[str]) -> Mapping[str, Any]:
    held = found.prompt if to == "prompt" else found.workflow
    if held is not None:
        return held
    definitions = _definitions(options, flags)
    if to == "workflow":
        return from_prompt(Prompt.parse(found.prompt), definitions)
    made = to_prompt(Workflow.parse(found.workflow), definitions, seed=options.seed)
    for type, (pack, ids) in made.missing.items():
        where = f" (the file names the pack {pack})" if pack else ""
        print(f"The node type {type}{where} is not known here: node {', '.join(ids[:10])}.", file=sys.stderr)
    for note in made.notes:
        print(note, file=sys.stderr)
    return made.prompt


def _definitions(options: argparse.Namespace, flags: Sequence[str]) -> Mapping[str, Any]:
    if options.definitions is not None:
        try:
            found = json.loads(options.definitions.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise BadFile(f"{options.definitions} cannot be read: {error}.", hint="Save what /object_info of a server says.") from error
        if not isinstance(found, dict):
            raise BadFile(f"{options.definitions} does not hold node types.", hint="Save what /object_info of a server says.")
        return found
    with ExitStack() as stack:
        url = options.server
        if url is None:
            user = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emulsion-convert-", ignore_cleanup_errors=True)))
            url = stack.enter_context(ServerProcess(user, flags)).url
        return stack.enter_context(Client(url, token=options.token)).object_info()


def _write(name: str, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    data = text.encode("utf-8", "replace")  # halves of surrogate pairs, from files cut in the middle of a character
    if name == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        Path(name).write_bytes(data)
    except OSError as error:
        raise Problem(f"{name} cannot be written: {error.strerror or error}.", file=name) from error
