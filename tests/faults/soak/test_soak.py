"""Short forms of the long runs, whose figures stand in docs/reliability.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.wiretap import Server
from tests.faults.soak import kill_points, soak

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


def test_jobs_leave_nothing_behind(server: Server) -> None:
    soak.run(server, 50, 1)
    samples = soak.run(server, 200, 10)
    assert abs(samples[-1].front_handles - samples[0].front_handles) <= 2
    assert abs(samples[-1].worker_handles - samples[0].worker_handles) <= 2
    assert samples[-1].front - samples[0].front < 8 << 20
    assert samples[-1].worker - samples[0].worker < 24 << 20


def test_nothing_accepted_is_lost_at_random_kills(tmp_path: Path) -> None:
    figures = kill_points.run(tmp_path, points=4, seed=3, longest_s=0.7)
    assert figures["ended"] >= figures["accepted"] > 0
