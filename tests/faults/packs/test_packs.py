"""Packs that misbehave in every way known: each is named, and the server, its worker and the other packs are unharmed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.workers import left_out
from backend.workers.death import Death
from backend.workers.flood import MOST_A_SECOND, Flood
from backend.workers.left_out import Suspects
from tests.e2e.wiretap import running
from tests.faults.ask import still_works

ANY = "INPUT_TYPES = classmethod(lambda c: {}); RETURN_TYPES = (); FUNCTION = 'go'; go = print"
BAD = {
    "raises": "raise RuntimeError('as asked')",
    "exits": "import sys; sys.exit(3)",
    "ends_the_process": "import os; os._exit(7)",
    "touches_foreign_memory": "import ctypes; ctypes.string_at(8)",
    "sleeps": "import time; time.sleep(1.5)\nNODE_CLASS_MAPPINGS = {}",
    "patches": (
        "import builtins, json, backend.base.jsonable, backend.engine.run\n"
        "json.dumps = builtins.sorted = backend.base.jsonable.plain = None\ndel backend.engine.run.Run\nNODE_CLASS_MAPPINGS = {}"
    ),
    "prints": "import sys\nfor _ in range(300): print('x' * 99_999, end=chr(10) * 9_999, file=sys.stderr)\nNODE_CLASS_MAPPINGS = {}",
    "takes_names": f"class A: {ANY}\nNODE_CLASS_MAPPINGS = {{'KSampler': A, 'TakenTwice': A, 'Mine': A}}",
    "takes_names_too": f"class A: {ANY}\nNODE_CLASS_MAPPINGS = {{'TakenTwice': A}}",
    "broken_schemas": (
        f"class A: {ANY}\nclass B(A): INPUT_TYPES = classmethod(lambda c: {{'required': 5}})\nclass C(A): FUNCTION = 'gone'\n"
        "class D(A): RETURN_TYPES = 7\n"
        "class E(A): INPUT_TYPES = classmethod(lambda c: {'required': {'a': ('INT', {'default': object()})}})\n"
        "NODE_CLASS_MAPPINGS = {'Whole': A, 'B': B, 'C': C, 'D': D, 'E': E, 'F': None}"
    ),
    "syntax": "def (",
    "recurses": "def f(): f()\nf()",
    "threads": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()\nNODE_CLASS_MAPPINGS = {}",
}


@pytest.mark.slow
def test_packs_that_misbehave_at_import_are_named_and_the_server_runs(tmp_path: Path) -> None:
    for name, code in BAD.items():
        (tmp_path / "custom_nodes" / name).mkdir(parents=True)
        (tmp_path / "custom_nodes" / name / "__init__.py").write_text(code)
    with running(tmp_path) as server:
        still_works(server)
        assert len(server.ask("/internal/logs").json()) < 2_000_000
        packs = {p["name"]: p for p in server.ask("/packs").json()}
        info = server.ask("/object_info").json()
    failed = {name: p["error"] for name, p in packs.items() if p["error"]}
    assert failed.keys() == {"raises", "exits", "ends_the_process", "touches_foreign_memory", "syntax", "recurses"}
    assert "exit code 7" in failed["ends_the_process"] and "SIGSEGV" in failed["touches_foreign_memory"]
    assert set(packs["patches"]["replaced"]) == {"builtins.sorted", "json.dumps", "backend.base.jsonable.plain", "backend.engine.run.Run"}
    taken = packs["takes_names"]["faults"] | packs["takes_names_too"]["faults"]
    assert taken.keys() == {"KSampler", "TakenTwice"} and "application" in taken["KSampler"] and "takes_names" in taken["TakenTwice"]
    assert packs["broken_schemas"]["faults"].keys() >= {"B", "C", "D", "F"} and "Whole" in info and "Mine" in info
    assert info["KSampler"]["python_module"] == "nodes" and packs["sleeps"]["seconds"] >= 1.5


def test_a_flood_of_lines_is_cut_and_counted() -> None:
    told: list[str] = []
    now = SimpleNamespace(s=0.0)
    flood = Flood(told.append, 100, lambda: now.s)
    flood.take(b"one\r\ntwo\nthr")
    flood.take(b"ee\n")
    assert told == ["one", "two", "three"]
    began = time.process_time()
    for _ in range(20_000):  # more than a gigabyte
        flood.take(b"abc\n" * 16_384)
    assert len(told) == MOST_A_SECOND and time.process_time() - began < 30
    now.s = 1.5
    flood.take(b"after\n" + b"x" * 200)
    flood.end()
    left = 20_000 * 16_384 - MOST_A_SECOND + 3
    assert told[-3:] == [f"... {left} lines are left out: the worker prints more than 2000 a second.", "after", "x" * 200]


def test_a_pack_is_left_out_when_its_import_kills_the_worker() -> None:
    environ: dict[str, str] = {}
    suspects = Suspects(environ)
    assert suspects.blame("a", Death("killed", "It was killed.")) is None and left_out.read(environ) == {}
    assert "did not survive" in (suspects.blame("a", Death("killed", "It was killed.")) or "")
    suspects.blame("b", Death("hang", "It hung."))
    assert left_out.read(environ).keys() == {"a", "b"} and "It hung." in left_out.read(environ)["b"]
    assert Suspects(environ).blame("c", Death("crash", "It crashed.")) and left_out.read(environ).keys() == {"a", "b", "c"}
