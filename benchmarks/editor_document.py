"""The document of the graph editor at 2,000 nodes: opening, editing, undoing. It runs editor_document.mjs, which needs Node.js 20.

`python -m benchmarks.editor_document` prints rows of docs/performance.md; `--check` also fails where a goal is missed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.table import Row


def main() -> int:
    """Run it, print what it printed."""
    node = shutil.which("node")
    if node is None:
        print(Row("The document of the editor", "no Node.js on this machine"))
        return 0
    return subprocess.run([node, str(Path(__file__).with_suffix(".mjs")), *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
