"""`main.py run GRAPH`: one graph, without a browser."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from backend.base.errors import Problem
from backend.cli.assignments import Graph, assign
from backend.cli.child import ServerProcess
from backend.cli.progress import ProgressBar
from backend.workflow import metadata
from backend.workflow.document import Workflow
from backend.workflow.metadata import Embedded
from backend.workflow.to_prompt import to_prompt
from clients.python.emulsion_client import Client, ClientError, Image, Job, JobCancelled, JobFailed, Refused, Unreachable

DONE, FAILED, USAGE, UNREACHABLE, CANCELLED = 0, 1, 2, 3, 130

DESCRIPTION = """Run one graph and save its pictures. GRAPH is a JSON file, in the API format or as the editor saves it, or a picture or
film that holds its graph ("-" reads standard input). Of a picture with both forms the prompt counts: it is what was run.

Without --server a server of its own is started for this one job and stopped afterwards; the flags of `serve` that follow
(such as --cpu) are passed on to it. Progress goes to standard error, the names of the pictures to standard output."""

EPILOG = """exit status:  0 done   1 a node failed   2 the graph or the command line is wrong   3 no server   130 cancelled

examples:
  python main.py run web/default_graph.json -o pictures --set Prompt.text="a small green ring"
  python main.py run picture.png -o again
  python main.py run graph.json --server http://127.0.0.1:8188 --set 5.seed=7 --set 5.steps=30"""


def parser() -> argparse.ArgumentParser:
    """The command line of `run`."""
    form = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("main.py run", description=DESCRIPTION, epilog=EPILOG, formatter_class=form)
    made.add_argument("graph", metavar="GRAPH", help="JSON file, or a picture with its graph in it")
    change = "change an input; NODE is an id or a title"
    made.add_argument("--set", dest="assignments", metavar="NODE.INPUT=VALUE", action="append", default=[], help=change)
    made.add_argument("-o", "--output", metavar="DIR", type=Path, help="folder for the pictures (default: the output folder of the server)")
    made.add_argument("--server", metavar="URL", help="use this running server")
    made.add_argument("--token", default="", help="what that server asks for, where it was started with --token")
    made.add_argument("--timeout", metavar="SECONDS", type=float, help="give up and cancel after this long")
    made.add_argument("-q", "--quiet", action="store_true", help="no progress")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit status."""
    options, flags = parser().parse_known_args(argv)
    if options.server and flags:
        parser().error(f"with --server there is no server to pass {' '.join(flags)} to")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being told to end cancels the job as Ctrl-C does
    try:
        found = read(options.graph)
        with ExitStack() as stack:
            url = options.server or stack.enter_context(_private(flags, options.output, stack)).url
            return _run(stack.enter_context(Client(url, token=options.token)), found, options)
    except Unreachable as error:
        return _say(error, UNREACHABLE)
    except JobCancelled as error:
        return _say(error, CANCELLED)
    except KeyboardInterrupt:
        return _say("Cancelled.", CANCELLED)
    except (JobFailed, TimeoutError) as error:
        return _say(error, FAILED)
    except (Problem, ClientError) as error:
        return _say(error, USAGE)


def read(name: str) -> Embedded:
    """The graph in a file (JSON in either form, a picture, a film), "-" being standard input. Raises MissingFile, BadFile."""
    return metadata.read_bytes(sys.stdin.buffer.read(), "Standard input") if name == "-" else metadata.read(Path(name))


def _private(flags: Sequence[str], output: Path | None, stack: ExitStack) -> ServerProcess:
    user = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emulsion-run-", ignore_cleanup_errors=True)))
    where = [] if output is None else ["--output-directory", str(output.resolve())]
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    return ServerProcess(user, [*flags, *where])


def _run(client: Client, found: Embedded, options: argparse.Namespace) -> int:
    info = client.object_info() if options.assignments or found.prompt is None else {}
    graph = assign(_placed(client, _graph(found, info), found.workflow), options.assignments, info)
    drawn = found.workflow if not options.assignments else None  # what is embedded in the pictures must be what was run
    job = client.submit(graph, extra_data=None if drawn is None else {"extra_pnginfo": {"workflow": drawn}})
    try:
        entry = _follow(job, ProgressBar(graph, sys.stderr), options)
    except (KeyboardInterrupt, TimeoutError) as error:
        job.cancel()
        if isinstance(error, TimeoutError):
            raise
        raise JobCancelled("Cancelled.") from None
    for image in entry:
        print(_place(image, options))
    for node, problem in job.node_errors.items():
        texts = "; ".join(f"{e['message']}: {e['details']}" for e in problem["errors"])
        print(f"Left out: node {node} ({problem['class_type']}): {texts}", file=sys.stderr)
    return FAILED if job.node_errors else DONE


def _graph(found: Embedded, info: Mapping[str, Any]) -> Graph:
    """The prompt of a file, made from its workflow where it holds none. Raises BadInput, BadFile."""
    if found.prompt is not None:
        return found.prompt
    made = to_prompt(Workflow.parse(found.workflow), info)
    for note in made.notes:
        print(note, file=sys.stderr)
    return made.prompt


def _placed(client: Client, graph: Graph, workflow: Mapping[str, Any] | None) -> Graph:
    """The graph with the names that its model files have on the server; one that cannot say gets it as it is."""
    try:
        here = client.address.json("POST", "/workflow/models", {"prompt": graph, "workflow": workflow})
    except Refused as error:
        if error.status not in (404, 405):
            raise
        return graph
    for model in here["models"]:
        print(model["note"], file=sys.stderr)
    placed: Graph = here["prompt"]
    return placed


def _follow(job: Job, bar: ProgressBar, options: argparse.Namespace) -> list[Image]:
    for event in job.events(options.timeout):
        if not options.quiet and event.type != "preview":
            bar.see(event.type, event.data)
    if not options.quiet:
        bar.close()
    return job.images()


def _place(image: Image, options: argparse.Namespace) -> str:
    """Where a picture is: a path when it is on this machine for good, else an address."""
    if options.output is not None:
        local = options.output / image.subfolder / image.filename
        if options.server is None and image.type == "output" and local.exists():
            return str(local)
        return str(image.save(options.output))
    return f"{image.type}/{image.subfolder + '/' if image.subfolder else ''}{image.filename}"


def _say(error: Any, status: int) -> int:
    print(f"{error}", file=sys.stderr)
    return status
