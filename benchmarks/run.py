"""Run the benchmarks and print one table: `python -m benchmarks.run [NAME ...] [--write]`."""

from __future__ import annotations

import argparse
import datetime
import pkgutil
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.table import HEAD, Row, machine, read

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PARTS = {"run", "table"}
LIMIT = 1800.0  # seconds for one script


def scripts() -> list[str]:
    """The names of the benchmark scripts there are."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in PARTS)


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


def table(rows: Sequence[Row]) -> str:
    """The section of the page that a run replaces."""
    today = datetime.date.today().isoformat()
    lines = "\n".join(str(row) for row in rows)
    return f"Measured on {today}: {machine()}.\n\n{HEAD}\n{lines}\n"


def write(text: str) -> None:
    """Put the table between the marks of docs/performance.md."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- table: begin -->", "<!-- table: end -->"
    changed = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}{end}", page, flags=re.DOTALL)
    PAGE.write_text(changed, encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """Command line; 1 when a script failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.run", description="Run benchmarks and print one table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (default: all of {', '.join(scripts())})")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(scripts())
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(scripts())}")
    rows = [row for name in options.names or scripts() for row in measure(name)]
    text = table(rows)
    print(text)
    if options.write:
        write(text)
    return int(any("failed" in row.measured or "not finished" in row.measured for row in rows))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
