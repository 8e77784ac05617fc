"""Kill the front at random moments and look what is left.

`python -m tests.faults.soak.kill_points --points 200 --longest 12` is the long run: within seconds the worker is up too, so that kills meet
jobs that run.

A round starts a server on the same directories, lets clients queue jobs with pictures, and kills it (kill -9) a random time after the first
was accepted; some rounds end before that. At the end the queue runs dry, and every job that was accepted must stand in the history exactly
once, in the order in which its client queued it, with every picture it names complete on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

from PIL import Image

from tests.e2e.wiretap import ask, node

ROOT = Path(__file__).resolve().parents[3]
_URL = re.compile(r"http://[^\s/]+:\d+")


class Front:
    """A server whose worker nobody waits for."""

    def __init__(self, home: Path) -> None:
        flags = ["--base-directory", str(home), "--cpu", "--port", "0", "--disable-all-custom-nodes"]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "serve", *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stderr is not None
        self.url = next(found[0] for line in self.process.stderr if (found := _URL.search(line)))
        self._reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._reader.start()

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(30)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def graph(seed: int) -> dict[str, Any]:
    image = node("EmptyImage", width=64, height=64, batch_size=2, color=seed % 0xFFFFFF)
    return {"1": image, "2": node("SaveImage", images=["1", 0], filename_prefix=f"j{seed}")}


def submit(url: str, stop: threading.Event, accepted: list[str], round: int, who: int, pause_s: float) -> None:
    """Queue jobs until the server is gone; an id counts as accepted when its 200 has arrived."""
    n = 0
    while not stop.is_set():
        id = f"{round:04}-{who}-{n:04}"
        n += 1
        try:
            if ask(url + "/prompt", {"prompt": graph(round * 100_000 + who * 10_000 + n), "prompt_id": id}).status == 200:
                accepted.append(id)
        except (OSError, urllib.error.URLError, ValueError):
            return
        time.sleep(pause_s)


def run(home: Path, points: int, seed: int, longest_s: float = 1.5) -> dict[str, Any]:
    """The figures of a run; raises AssertionError naming what was lost."""
    rng = random.Random(seed)
    accepted: list[str] = []
    for round in range(points):
        front, stop = Front(home), threading.Event()
        clients = [threading.Thread(target=submit, args=(front.url, stop, accepted, round, who, longest_s / 30)) for who in range(2)]
        for client in clients:
            client.start()
        before, latest = len(accepted), time.monotonic() + (60.0 if rng.random() < 0.9 else rng.uniform(0.0, 2.0))
        while len(accepted) == before and time.monotonic() < latest:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, longest_s))
        front.end(kill=True)
        stop.set()
        for client in clients:
            client.join()
    front = Front(home)
    try:
        while ask(front.url + "/prompt").json()["exec_info"]["queue_remaining"]:
            time.sleep(0.1)
        history = ask(front.url + "/history").json()
    finally:
        front.end()
    return {"points": points, "accepted": len(accepted), **check(home, accepted, history)}


def check(home: Path, accepted: list[str], history: dict[str, Any]) -> dict[str, Any]:
    lost = set(accepted) - set(history)
    assert not lost, f"accepted and lost: {sorted(lost)[:5]} and {len(lost)} in all"
    unfinished = [id for id, entry in history.items() if not entry["status"]["completed"]]
    given_up = 0
    for id in unfinished:  # a job may meet three kills in a row; then it must say so
        assert "attempt" in json.dumps(history[id]["status"]), f"{id} ended without a reason"
        given_up += 1
    pictures = 0
    for id, entry in history.items():
        for shown in entry["outputs"].values():
            for item in shown["images"]:
                with Image.open(home / "output" / item["subfolder"] / item["filename"]) as picture:
                    picture.load()
                pictures += 1
        assert id in unfinished or len(entry["outputs"]["2"]["images"]) == 2
    for path in (home / "output").rglob("*.png"):
        if not path.name.startswith("."):
            with Image.open(path) as picture:
                picture.load()  # also those of attempts that were cut off: a reader never sees half a file
    order = [id for id in history if id not in unfinished]
    by_client: dict[str, list[str]] = {}
    for id in order:
        by_client.setdefault(id[:6], []).append(id)
    assert all(ids == sorted(ids) for ids in by_client.values()), "the jobs of a client ended in another order"
    return {"ended": len(history), "given_up": given_up, "pictures": pictures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--longest", type=float, default=1.5, help="seconds from the first accepted job to the kill, at most")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        print(json.dumps({**run(Path(home), options.points, options.seed, options.longest), "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
