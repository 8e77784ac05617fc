"""Memory that runs out in the middle of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import oom_points


@pytest.mark.slow
def test_memory_that_runs_out_anywhere_costs_no_run_but_its_own(tmp_path: Path) -> None:
    figures = oom_points.run(tmp_path, points=3)
    assert figures["recovered"] == 3
    assert figures["ended_with_a_sentence"] > 0
    held, most = figures["held_bytes"]
    assert most <= held * 1.05
