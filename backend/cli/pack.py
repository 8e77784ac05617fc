"""`main.py pack`: look at node packs, put them in place, and try one before trusting it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.base.config import ROOT, Settings
from backend.base.errors import Problem
from backend.storage.packs.folder import PackFolder
from backend.storage.packs.requirements import Change
from backend.storage.packs.sources import source_of

DESCRIPTION = "Node packs: folders below custom_nodes. A change counts from the next start of the server."
TRIAL_S = 300.0


def parser() -> argparse.ArgumentParser:
    """The command line of `pack`."""
    made = argparse.ArgumentParser("main.py pack", description=DESCRIPTION)
    made.add_argument("--base-directory", type=Path, default=ROOT, help="where custom_nodes lies (default: the application's folder)")
    does = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    test = does.add_parser("test", help="load a pack in a process of its own and check every node")
    test.add_argument("directory", type=Path, metavar="DIR")
    test.add_argument("--json", action="store_true", help="the whole report as JSON")
    does.add_parser("list", help="the packs there are")
    put = does.add_parser("install", help="put a pack in place: from a folder, a .py or zip file, a git bundle, or an index file")
    put.add_argument("source", type=Path, metavar="SOURCE")
    put.add_argument("--name", help="name of its folder, and of the pack in an index file")
    put.add_argument("--plan", action="store_true", help="only say what its requirements would change in the environment")
    new = does.add_parser("update", help="replace a pack by what its source holds now; the version before is kept")
    new.add_argument("name", metavar="NAME")
    new.add_argument("source", type=Path, nargs="?", metavar="SOURCE", help="where the new version is (default: where the pack came from)")
    for action, text in (
        ("rollback", "go back to the version before"), ("disable", "leave a pack alone"), ("enable", "load it again"),
        ("pin", "keep a pack at its version"), ("unpin", "let it be updated again"),
    ):  # fmt: skip
        does.add_parser(action, help=text).add_argument("name", metavar="NAME")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 when it was done, 1 when the pack has faults, 2 when the command could not be done."""
    options = parser().parse_args(argv)
    try:
        if options.action == "test":
            return _test(options.directory, options.json)
        _change(options, PackFolder(Settings(base_directory=options.base_directory).folders().custom_nodes[0]))
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


def _change(options: Any, packs: PackFolder) -> None:
    action = options.action
    if action == "list":
        for pack in packs.listed():
            marks = [pack.version] if pack.version else []
            marks += [m for m, holds in (("off", not pack.on), ("pinned", pack.pinned), ("earlier version kept", pack.earlier)) if holds]
            print(pack.name + (f"  ({', '.join(marks)})" if marks else ""))
    elif action == "install":
        source = source_of(options.source, options.name)
        _tell(packs.plan(source) if options.plan else packs.install(source))
        if not options.plan:
            print(f"{source.name} is in place; it is loaded at the next start.")
    elif action == "update":
        _tell(packs.update(options.name, source_of(options.source, options.name) if options.source else None))
        print(f"{options.name} is what its source holds now{_version(packs, options.name)}; it is loaded at the next start.")
    elif action == "rollback":
        packs.roll_back(options.name)
        print(f"{options.name} is the version before again{_version(packs, options.name)}; it is loaded at the next start.")
    elif action in ("disable", "enable"):
        packs.switch(options.name, action == "enable")
        print(f"{options.name} is {'loaded' if action == 'enable' else 'left alone'} from the next start on.")
    else:
        packs.pin(options.name, action == "pin")
        print(f"{options.name} {'stays at its version' if action == 'pin' else 'can be updated again'}.")


def _version(packs: PackFolder, name: str) -> str:
    return next((f" ({pack.version})" for pack in packs.listed() if pack.name == name and pack.version), "")


def _tell(changes: list[Change]) -> None:
    for change in changes:
        print(f"  {change}")
    if not changes:
        print("  No package of the environment changes.")


def _test(directory: Path, as_json: bool) -> int:
    if not directory.exists():
        print(f"There is no {directory}.", file=sys.stderr)
        return 2
    report, said = _tried(directory.absolute())
    if report is None:
        print(*said, sep="\n", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=1) if as_json else told(report))
    return 1 if report["error"] or report["faults"] or report["prestartup"] else 0


def _tried(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The report of a process that loads the pack, or None and why there is none. Of what the pack prints only the end is kept."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}
    command = [sys.executable, "-P", "-m", "backend.packs.trial", str(path)]
    last: deque[bytes] = deque(maxlen=20)
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        out: list[bytes] = []
        readers = [
            threading.Thread(target=lambda stream=process.stderr: last.extend(iter(lambda: stream.readline(4096), b""))),
            threading.Thread(target=lambda stream=process.stdout: out.append(stream.read())),
        ]
        for reader in readers:
            reader.start()
        try:
            status = process.wait(TRIAL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return None, [f"The pack was still loading after {TRIAL_S:.0f} seconds."]
        for reader in readers:
            reader.join()
    if status or not out[0]:
        words = [line.decode("utf-8", "replace").rstrip() for line in list(last)[-5:]]
        return None, [f"The pack ended the process it was loaded in (exit status {status}).", *words]
    report: dict[str, Any] = json.loads(out[0])
    return report, []


def told(report: dict[str, Any]) -> str:
    """The report in words."""
    lines = [f"{report['name']}: {len(report['nodes'])} nodes in {report['seconds']:.2f} s"]
    if report["error"]:
        lines = [f"{report['name']} cannot be imported. {report['error']}", *report["traceback"].rstrip().splitlines()[-3:]]
    if report["prestartup"]:
        lines.append(f"Its prestartup_script.py fails. {report['prestartup']}")
    for node in report["nodes"]:
        lines.append(f"  {node['id']} ({', '.join(node['inputs']) or 'no inputs'}) -> {', '.join(node['outputs']) or 'nothing'}")
        if node["taken"]:
            lines.append("    is left out: the application has a node of that name")
        lines += [f"    {remark}" for remark in node["remarks"]]
    lines += [f"  {id} is left out. {fault}" for id, fault in report["faults"].items()]
    lines += [f"  route {route}" for route in report["routes"]]
    lines += [f"  script {script}" for script in report["scripts"]]
    lines += [f"  replaces {name}, which is put back" for name in report["replaced"]]
    for name in report["wanted"]:
        places = report["places"].get(name, [])
        lines.append(f"  wants {name}, which is not there" + (f": {', '.join(places[:3])}" if places else ""))
    return "\n".join(lines)
