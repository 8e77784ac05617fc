"""Write docs/compatibility.md from a folder of workflows and a published description of node types.

python -m tools.compatibility FOLDER [--object-info FILE] [-o docs/compatibility.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from nodes import builtin
from tools.compatibility import MEDIA, Verdict, lacking, survey
from tools.compatibility.reasons import reason

HEAD = """# Compatibility

What works here of real workflow files and of the ecosystem's node types. Written by `python -m tools.compatibility`; the test
`tests/tools/test_compatibility.py` holds it wherever the files are. A file *opens* when it is read and written back unchanged, *converts*
when it becomes a prompt, and *is valid* when every node type is there and nothing is wrong with the prompt but model files that this
machine lacks. That conversion equals the prompt that the other editor stored is a test of its own (`tests/workflow/test_files.py`).
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m tools.compatibility", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--object-info", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/compatibility.md"))
    options = parser.parse_args(argv)
    verdicts = survey(options.folder)
    known = json.loads(options.object_info.read_text("utf-8")) if options.object_info else {}
    options.output.write_text("\n".join([HEAD, *page(verdicts, list(known))]), encoding="utf-8")
    print(f"{sum(v.runs for v in verdicts)} of {len(verdicts)} files are valid; {len(lacking(verdicts))} node types are missing.")


def page(verdicts: list[Verdict], published: list[str]) -> list[str]:
    """The lines of the page."""
    return [*_summary(verdicts), *_published(published), *_missing(verdicts), *_files(verdicts)]


def _summary(verdicts: list[Verdict]) -> list[str]:
    lines = ["## Files", "", "| | files | open | convert | valid | node types | of them here | uses | of them here |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for name in (*MEDIA, "all"):
        group = [v for v in verdicts if name in (v.medium, "all")]
        if not group:
            continue
        types = {t for v in group for t in v.types}
        absent = {t for v in group for t in v.missing}
        uses = sum(v.types.total() for v in group)
        lost = sum(v.types[t] for v in group for t in v.missing)
        counts = [len(group), sum(v.opened for v in group), sum(v.converted for v in group), sum(v.runs for v in group)]
        here = [len(types), _share(len(types) - len(absent), len(types)), uses, _share(uses - lost, uses)]
        lines.append(f"| {name} | {' | '.join(map(str, [*counts, *here]))} |")
    return [*lines, "", '"Uses" counts nodes, subgraphs unfolded.', ""]


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else "0"


def _published(published: list[str]) -> list[str]:
    if not published:
        return []
    ours = {t.id for t in builtin()}
    absent = [type for type in published if type not in ours]
    lines = ["## Published node types", "", f"{len(published) - len(absent)} of {len(published)} are here, described alike. Not here:", ""]
    lines += ["| why | types |", "|---|---|"]
    groups: dict[str, list[str]] = {}
    for type in absent:
        groups.setdefault(reason(type) or "unknown", []).append(type)
    return [*lines, *(f"| {why} | {', '.join(sorted(types))} |" for why, types in sorted(groups.items())), ""]


def _missing(verdicts: list[Verdict]) -> list[str]:
    lines = ["## Node types of the files that are not here", "", "| type | files | why |", "|---|---|---|"]
    return [*lines, *(f"| {type} | {n} | {reason(type) or 'unknown'} |" for type, n in lacking(verdicts).most_common()), ""]


def _files(verdicts: list[Verdict]) -> list[str]:
    lines = ["## File by file", "", "| file | medium | nodes | lacks |", "|---|---|---|---|"]
    for v in verdicts:
        lacks = ", ".join(v.missing) or "; ".join(v.problems) or ("" if v.converted else "not converted")
        lines.append(f"| {v.name} | {v.medium} | {v.types.total()} | {lacks.replace('|', '/')} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
