from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.wiretap import running
from tests.faults.ask import still_works

pytestmark = pytest.mark.slow
BAD = {
    "raises": "raise RuntimeError('as asked')",
    "exits": "import sys; sys.exit(3)",
    "sleeps": "import time; time.sleep(1.5)\nNODE_CLASS_MAPPINGS = {}",
    "patches": "import json\njson.dumps = None\nimport builtins\nbuiltins.sorted = None\nNODE_CLASS_MAPPINGS = {}",
    "syntax": "def (",
    "recurses": "def f(): f()\nf()",
}


def test_packs_that_misbehave_at_import_are_named_and_the_server_runs(tmp_path: Path) -> None:
    for name, code in BAD.items():
        if name != "patches":  # shares the worker's process: see docs/security.md
            (tmp_path / "custom_nodes" / name).mkdir(parents=True)
            (tmp_path / "custom_nodes" / name / "__init__.py").write_text(code)
    with running(tmp_path) as server:
        still_works(server)
        log = server.ask("/internal/logs").json()
        for name in ("raises", "exits", "syntax", "recurses"):
            assert name in log
