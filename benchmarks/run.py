"""Run the benchmarks and print what they measured: `python -m benchmarks.run [NAME ...] [--write]`."""

from __future__ import annotations

import argparse
import datetime
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import HEAD, Row, machine, read

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PARTS = {"run", "table", "server"}
LIMIT = 1800.0  # seconds for one script
QUIET = 0.7  # programs running on average, up to which the machine counts as free


def scripts() -> list[str]:
    """The names of the benchmark scripts there are: the modules here that run on their own, but for this one."""
    here = Path(__file__).parent
    names = [module.name for module in pkgutil.iter_modules([str(here)]) if module.name != "run"]
    return sorted(name for name in names if "__main__" in (here / f"{name}.py").read_text(encoding="utf-8"))


def measure(name: str) -> list[Row]:
    """Run one script in a process of its own; a failure becomes a row that says so."""
    print(f"── {name}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return [Row(name, f"not finished in {LIMIT:.0f} s")]
    print(done.stdout, file=sys.stderr, flush=True)
    rows = read(done.stdout)
    if done.returncode != 0:
        rows.append(Row(name, f"failed with status {done.returncode}"))
    return rows or [Row(name, "printed no rows")]


def section(name: str, rows: Sequence[Row], load: float) -> str:
    """What one script measured, when, where and beside what, as a part of the page; `load` is how many programs ran before it began."""
    today = datetime.date.today().isoformat()
    lines = "\n".join(str(row) for row in rows)
    busy = f"; load average {load:.1f} before: other programs ran, so trust the CPU seconds" if load > QUIET else ""
    return f"### `{name}`, {today}\n\n{machine()}{busy}\n\n{HEAD}\n{lines}\n\n"


def write(name: str, text: str) -> None:
    """Put a section between the marks of docs/performance.md, in place of the one that script had; sections stand in alphabetical order."""
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition("<!-- measured: begin -->\n")
    held, end, after = rest.partition("<!-- measured: end -->")
    sections = dict(re.findall(r"(?ms)^### `(\w+)`(.*?)(?=^### `|\Z)", held))
    found = {key: f"### `{key}`{value}" for key, value in sections.items()} | {name: text}
    PAGE.write_text(before + begin + "".join(found[key] for key in sorted(found)) + end + after, encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """Command line; 1 when a script failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.run", description="Run benchmarks and print tables.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (default: all of {', '.join(scripts())})")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(scripts())
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(scripts())}")
    bad = False
    for name in options.names or scripts():
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        rows = measure(name)
        failed = any(row.measured.startswith(("failed", "not finished", "printed no")) for row in rows)
        bad |= failed
        text = section(name, rows, load)
        print(text, flush=True)
        if options.write and not failed:
            write(name, text)
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
