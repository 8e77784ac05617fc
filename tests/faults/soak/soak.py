"""Many tiny jobs, and what they leave behind. `python -m tests.faults.soak.soak --jobs 10000` for the long run.

After a warm-up the memory and the open handles of both processes are sampled; the slope is that of a least-squares line over the samples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.wiretap import Server, node, running


@dataclass(frozen=True)
class Sample:
    """After `jobs` jobs: resident bytes and handles of front and worker, and the seconds of the last job from queueing to its end."""

    jobs: int
    front: int
    worker: int
    front_handles: int
    worker_handles: int
    seconds: float


def resident(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def graph(n: int) -> dict[str, Any]:
    image = node("EmptyImage", width=64, height=64, batch_size=1, color=n % 0xFFFFFF)
    return {"1": image, "2": node("ImageInvert", image=["1", 0]), "3": node("PreviewImage", images=["2", 0])}


def run(server: Server, jobs: int, samples: int) -> list[Sample]:
    """Run `jobs` jobs one after the other, with a socket that listens, and sample evenly."""
    socket = server.socket("soak")
    front, worker = server.process.process.pid, server.worker_pid()
    found, seconds = [], list[float]()
    for n in range(jobs):
        began = time.monotonic()
        socket.run(server.submit(graph(n), "soak"))
        seconds.append(time.monotonic() - began)
        if (n + 1) % (jobs // samples) == 0:
            found.append(Sample(n + 1, resident(front), resident(worker), handles(front), handles(worker), statistics.median(seconds)))
            seconds.clear()
    assert server.worker_pid() == worker, "the worker was replaced"
    socket.close()
    return found


def slope(samples: list[Sample], name: str) -> float:
    """Growth per job."""
    line = statistics.linear_regression([s.jobs for s in samples], [float(getattr(s, name)) for s in samples])
    return line.slope


def figures(samples: list[Sample]) -> dict[str, Any]:
    later = samples[len(samples) // 5 :]
    return {
        "jobs": samples[-1].jobs,
        "front_bytes_per_job": round(slope(later, "front")),
        "worker_bytes_per_job": round(slope(later, "worker")),
        "front_mib": round(samples[-1].front / 2**20),
        "worker_mib": round(samples[-1].worker / 2**20),
        "handles": [[s.front_handles, s.worker_handles] for s in (samples[0], samples[-1])],
        "median_ms": [round(s.seconds * 1000, 1) for s in (samples[0], samples[-1])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as server:
        print(json.dumps(figures(run(server, options.jobs, 50))))


if __name__ == "__main__":
    main()
