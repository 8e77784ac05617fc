"""Results go as soon as their last reader has run, where the cache says so."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from backend.engine.cache import Lru, Nothing
from backend.engine.job import Instances
from backend.graph.document import Prompt
from tests.engine.runs import Bench, kind, node


class Big:
    pass


def test_a_result_is_gone_after_its_last_reader() -> None:
    alive: list[weakref.ref[Big]] = []
    seen: list[int] = []

    def make(ctx: Any, a: Any) -> Big:
        made = Big()
        alive.append(weakref.ref(made))
        return made

    def count(ctx: Any, a: Any) -> None:
        gc.collect()
        seen.append(sum(r() is not None for r in alive))

    bench = Bench(kind("Make", make, "a"), kind("Count", count, "a", outputs=0), cache=Nothing())
    document: dict[str, Any] = {}
    for i in range(5):
        document[f"m{i}"] = node("Make", a=i)
        document[f"c{i}"] = node("Count", a=f"#m{i}")
    bench.run(document)
    assert seen == [1, 1, 1, 1, 1]


def test_lazy_readers_keep_what_they_may_still_want() -> None:
    def status(ctx: Any, a: Any = None, b: Any = None) -> list[str]:
        return ["b"] if b is None else []

    lazy = kind("Late", lambda ctx, a, b=None: b, "a b~", lazy_status=status)
    bench = Bench(lazy, cache=Nothing())
    document = {
        "1": node("Value", a=1),
        "2": node("Show", a="#1"),
        "3": node("Value", a=3),
        "4": node("Late", a="#3", b="#1"),
        "5": node("Show", a="#4"),
    }
    bench.run(document)
    assert bench.ran.count("1") == 1 and bench.shown()["5"] == {"text": ["1"]}


def test_everything_runs_every_time_without_a_cache() -> None:
    bench = Bench(cache=Nothing())
    document = {"1": node("Value", a=1), "2": node("Show", a="#1")}
    for _ in range(2):
        bench.run(document)
        assert bench.ran == ["1", "2"]


def test_lru_remembers_across_documents_and_classic_does_not() -> None:
    one, two = ({"1": node("Value", a=i), "2": node("Show", a="#1")} for i in (1, 2))
    for cache, expected in ((Lru(10), []), (None, ["1", "2"])):
        bench = Bench(cache=cache)
        for document in (one, two, one):
            bench.run(document)
        assert bench.ran == expected


def test_forgetting_drops_results() -> None:
    bench = Bench()
    document = {"1": node("Value", a=1), "2": node("Show", a="#1")}
    bench.run(document)
    bench.executor.forget()
    bench.run(document)
    assert bench.ran == ["1", "2"]


def test_instances_stay_while_their_node_does() -> None:
    t = kind("Stateful", lambda ctx: None, outputs=0, instance_of=Big)
    kept = Instances()
    same = Prompt.parse({"1": node("Stateful")})
    kept.begin(same)
    first = kept.get("1", "1", t)
    inner = kept.get("1.0.0.1", "1", t)
    kept.begin(same)
    assert kept.get("1", "1", t) is first and kept.get("1.0.0.1", "1", t) is inner
    kept.begin(Prompt.parse({"2": node("Stateful")}))
    assert kept.get("1", "1", t) is not first
    kept.begin(Prompt.parse({"1": node("Value")}))
    assert kept.get("1", "1", t) is not first
