from __future__ import annotations

import random

import pytest

from backend.base.config import parse
from backend.engine import cache
from backend.engine.cache import Classic, Lru, Nothing, OutputCache, Ram, Result
from backend.engine.sizes import nbytes


def keys(*names: str) -> dict[bytes, None]:
    return dict.fromkeys(n.encode() for n in names)


def fill(c: OutputCache, *names: str) -> None:
    c.begin(keys(*names))
    for n in names:
        c.put(n.encode(), Result([[n]], None, 1.0))


def have(c: OutputCache, names: str) -> str:
    return "".join(n for n in names if c.get(n.encode()) is not None)


def test_classic_keeps_the_current_document() -> None:
    c = Classic()
    fill(c, "a", "b")
    c.begin(keys("b", "c"))
    assert have(c, "abc") == "b"
    c.clear()
    assert len(c) == 0


def test_classic_keeps_expansions_while_runs_use_them() -> None:
    c = Classic()
    fill(c, "a")
    c.put(b"inner", Result([], None))
    c.begin(keys("a"))
    assert c.get(b"inner") is not None  # used again
    c.begin(keys("a"))
    c.begin(keys("a"))  # a run that did not use it has passed
    assert c.get(b"inner") is None and c.get(b"a") is not None


def test_classic_comes_back_to_what_was_small_and_dear() -> None:
    c = Classic(Ram(100_000))
    c.begin(keys(*"abcde"))
    c.put(b"a", Result([[b"x" * 5000]], None, 1.0))
    c.put(b"b", Result([[b"x" * 5000]], None, 0.001))  # quick
    c.put(b"c", Result([["a handle"]], None, 9.0))  # holds what nobody counts
    c.put(b"d", Result([[b"x" * 5_000_000]], None, 9.0))  # large
    c.put(b"e", Result([[b"x" * 5000]], {"images": []}, 9.0))  # was shown, and must be again
    c.begin(keys("f"))
    assert have(c, "abcde") == "a"
    c.begin(keys("a"))
    c.begin(keys("f"))
    assert have(c, "a") == "a"  # again and again
    c.clear()
    assert have(c, "a") == ""


def test_lru_drops_the_runs_longest_ago_when_a_run_begins() -> None:
    c = Lru(3)
    fill(c, "a", "b")
    fill(c, "c", "d")
    assert len(c) == 4  # nothing of the current run goes
    c.begin(keys("a"))
    assert have(c, "abcd") == "acd"
    c.begin(keys("x"))
    assert len(c) == 3


def test_lru_never_drops_the_current_run() -> None:
    c = Lru(1)
    fill(c, "a", "b", "c")
    c.begin(keys("a", "b", "c"))
    assert have(c, "abc") == "abc"


def test_nothing_is_kept() -> None:
    c = Nothing()
    fill(c, "a")
    assert c.get(b"a") is None and len(c) == 0 and c.frees


class Tensor:
    """What a tensor shows of itself to the cache."""

    def __init__(self, size: int, pointer: int) -> None:
        self._size, self._pointer = size, pointer

    def untyped_storage(self) -> Tensor:
        return self

    def data_ptr(self) -> int:
        return self._pointer

    def nbytes(self) -> int:
        return self._size


class Array:
    nbytes = 64


def test_sizes_are_asked_not_imported() -> None:
    shared = [Tensor(1000, 7), Tensor(1000, 7), Tensor(500, 8)]
    assert nbytes([[{"samples": shared}], (Array(),)]) == 1564
    loop: list[object] = [b"x" * 1000]
    loop.append(loop)
    assert 1000 < nbytes(loop) < 1100
    assert nbytes([1, 2.0, None, True, object()]) == 0


def test_real_tensors_and_arrays_are_counted() -> None:
    torch = pytest.importorskip("torch")
    numpy = pytest.importorskip("numpy")
    t = torch.zeros(10, 10)
    assert nbytes({"a": t, "b": t[:2], "c": numpy.zeros(4, numpy.float64)}) == 432


def blob(size: int, seconds: float) -> Result:
    return Result([[Tensor(size, random.getrandbits(60))]], None, seconds)


def test_ram_drops_what_is_cheap_for_its_size() -> None:
    c = Ram(1000)
    c.begin({})
    c.put(b"cheap", blob(400, 0.1))
    c.put(b"dear", blob(400, 10.0))
    c.put(b"mid", blob(400, 1.0))
    assert [c.get(k) is not None for k in (b"cheap", b"dear", b"mid")] == [False, True, True]
    assert c.held == 800
    c.put(b"huge", blob(5000, 99.0))
    assert c.get(b"huge") is None and c.held == 800


def test_ram_lets_old_results_go_in_time() -> None:
    c = Ram(1000)
    c.put(b"old", blob(500, 5.0))
    for i in range(200):
        c.put(b"%d" % i, blob(500, 1.0))
    assert c.get(b"old") is None


def test_ram_replaces_and_stays_within_its_budget() -> None:
    rng = random.Random(1)
    c = Ram(10_000)
    for _ in range(2000):
        key = b"%d" % rng.randrange(50)
        if rng.random() < 0.5:
            c.put(key, blob(rng.randrange(1, 3000), rng.random()))
        else:
            c.get(key)
        assert 0 <= c.held <= 10_000
    assert len(c._heap) <= 4 * len(c) + 65
    c.clear()
    assert c.held == 0 == len(c)


@pytest.mark.parametrize(
    ("line", "kind"),
    [("", Classic), ("--cache-classic", Classic), ("--cache-lru 5", Lru), ("--cache-none", Nothing), ("--cache-ram 2", Ram)],
)
def test_settings_choose(line: str, kind: type) -> None:
    assert type(cache.of(parse(line.split()))) is kind
