"""The script for GPUs runs from end to end without one, and pretends nothing."""

from __future__ import annotations

import pytest
import torch

from backend.base.config import Settings
from backend.memory.tune import tune
from backend.nn.packed import PACKING
from benchmarks import gpu
from benchmarks.table import read


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main([])
    (row,) = read(capsys.readouterr().out)
    assert "no GPU" in row.measured


def test_with_tiny_nets_all_of_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    try:
        gpu.main(["--tiny", "--rounds", "1", "--no-compilers"])
    finally:
        tune(Settings())
        PACKING.float32 = False
    rows = read(capsys.readouterr().out)
    ours, theirs, within = ([row for row in rows if part in row.what] for part in (": ours", ": diffusers eager", " within "))
    assert len(ours) == 4 and len(theirs) == 3 and len(within) == 2, "one of ours with products in float8"
    assert {row.measured for row in (*ours, *theirs, *within)} == {"ran"}
