"""What activations take is learnt and survives the process."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch

from backend.memory.measured import Measured, watermark
from backend.memory.pool import Pool
from tests.memory.test_pool import loadable, run, size


def test_the_largest_of_recent_runs_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "working.json"
    known = Measured(path)
    assert known.expect("net", 100) == 100
    known.learn("net", 100, 300)
    assert (known.expect("net", 100), known.expect("net", 200), known.expect("other", 100)) == (300, 200, 100)
    known.learn("net", 100, 50)
    assert known.expect("net", 100) == 270, "one small run is no proof"
    known.learn("net", 100, 10_000)
    assert known.expect("net", 100) == 800, "a measure that is far off is not believed"
    known.learn("net", 0, 5)
    known.learn("net", 5, 0)
    assert Measured(path).expect("net", 100) == 800
    path.write_text("[1]")
    assert Measured(path).expect("net", 100) == 100
    path.write_text("{")
    assert Measured(path).expect("net", 100) == 100


def test_plans_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    what = loadable()
    pool = Pool(budget=size(what) + 1000)
    pool.measures = True
    monkeypatch.setattr("backend.memory.pool.watermark", lambda device: lambda: 4000)
    for _ in range(2):  # weights come with the first, so what it takes says nothing of activations
        run(pool, what, working=1000)
        assert pool.table()[0]["resident_bytes"] == size(what)
    run(pool, what, working=1000)
    assert pool.table()[0]["resident_bytes"] < size(what)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_seen() -> None:
    above = watermark(torch.device("cpu"))
    if above is None:
        pytest.skip("this system does not let a process begin its peak anew")
    with mmap.mmap(-1, 80_000_000) as held:  # fresh pages, whatever the allocator kept of earlier tests
        held.write(bytes(80_000_000))
    assert 60e6 < above() < 400e6
    assert watermark(torch.device("mps")) is None
