"""How soon the server answers, how soon its worker is ready, and how quickly routes answer while a node computes.

`python -m benchmarks.front_start [REPEATS]`.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from backend.cli.child import MAIN
from benchmarks.server import rss
from benchmarks.table import Row, report

ROUTES = ("/queue", "/prompt", "/system_stats", "/history?max_items=10", "/object_info", "/features", "/models/loras", "/settings", "/")
BUSY_S = 10.0


def answer(port: int, path: str, body: str | None = None) -> int:
    """The status of a request, 0 while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, body)
        reply = connection.getresponse()
        reply.read()
        return reply.status
    except OSError:
        return 0
    finally:
        connection.close()


def until(port: int, path: str, began: float) -> float:
    """Seconds until a route answers 200."""
    while answer(port, path) != 200:
        time.sleep(0.01)
    return time.perf_counter() - began


def compiled() -> dict[str, str]:
    """The environment, with which Python keeps what it has compiled, as it does unless told otherwise."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def start(home: str, port: int, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(MAIN), "serve", "--port", str(port), "--base-directory", home, "--cpu"]
    return subprocess.Popen(command, env=environment or compiled(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def busy_latencies(port: int) -> list[float]:
    """Seconds each route takes while the worker multiplies matrices."""
    picture = {"width": 4096, "height": 4096, "batch_size": 4}
    size = {"width": 2048, "height": 2048, "crop": "disabled", "upscale_method": "lanczos"}
    times = []
    end = time.perf_counter() + BUSY_S
    color = 0
    while time.perf_counter() < end:
        if color < 20:
            color += 1
            graph = {
                "1": {"class_type": "EmptyImage", "inputs": {**picture, "color": color}},
                "2": {"class_type": "ImageScale", "inputs": {**size, "image": ["1", 0]}},
                "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
            }
            answer(port, "/prompt", json.dumps({"prompt": graph}))
        for route in ROUTES:
            began = time.perf_counter()
            assert answer(port, route) == 200, route
            times.append(time.perf_counter() - began)
    return sorted(times)


def main(repeats: int) -> None:
    front, worker = [], []
    for n in range(repeats):
        port = 18_300 + n
        with tempfile.TemporaryDirectory(prefix="emulsion-bench-") as home:
            began = time.perf_counter()
            process = start(home, port)
            front.append(until(port, "/health/live", began))
            worker.append(until(port, "/health/ready", began))
            memory = rss(process.pid) if Path("/proc").is_dir() else 0.0
            times = busy_latencies(port) if n == repeats - 1 else []
            process.terminate()
            process.wait(30)
    report([Row("front answers", f"{statistics.median(front):.2f} s (best {min(front):.2f})", "< 1 s")])
    report([Row("worker is ready", f"{statistics.median(worker):.2f} s (best {min(worker):.2f})", "< 5 s")])
    report([Row("memory of the idle front", f"{memory:.0f} MB", "< 80 MB")])
    p99 = times[int(len(times) * 0.99)] * 1000
    report(
        [Row(f"routes while nodes compute, p99 of {len(times)}", f"{p99:.1f} ms (median {statistics.median(times) * 1000:.1f})", "< 50 ms")]
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
