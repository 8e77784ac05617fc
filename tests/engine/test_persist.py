"""Results on disk: taken up by another executor, named by all that they depend on, within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.base import events as ev
from backend.base.errors import BadFile
from backend.engine.executor import Executor, Job
from backend.engine.persist import Persistent
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.weights.values import NotPlain, load_value, save_value
from tests.engine.runs import kind, node


class Life:
    """One process's executor, on a folder that outlives it."""

    def __init__(self, folder: Path, budget: int = 1 << 30, about: Any = None, value: Callable[[], Any] = lambda: torch.ones(4)) -> None:
        self.calls: list[str] = []
        self.events: list[ev.Event] = []

        def make(ctx: Any, **given: Any) -> Any:
            self.calls.append("Make")
            return value()

        def double(ctx: Any, a: Any, **given: Any) -> Any:
            self.calls.append("Double")
            return a * 2

        def end(ctx: Any, a: Any) -> Any:
            self.calls.append("End")
            self.seen = a
            return ()

        types = [kind("Make", make, any_constant=True), kind("Double", double, "a", any_constant=True), kind("End", end, "a", outputs=0)]
        kept = Persistent(folder, budget, {"Double"}, describe=lambda prompt: about, save=save_value, load=load_value)
        self.executor = Executor(Registry(types), self.events.append, persistent=kept)

    def run(self, salt: int = 0, names: str = "123") -> list[str]:
        one, two, three = names
        graph = {one: node("Make", salt=salt), two: node("Double", a=f"#{one}"), three: node("End", a=f"#{two}")}
        self.calls.clear()
        assert self.executor.run(Job("j", Prompt.parse(graph), (three,))).status == "success"
        return self.calls


def test_a_result_survives_its_process(tmp_path: Path) -> None:
    assert Life(tmp_path).run() == ["Make", "Double", "End"]
    second = Life(tmp_path)
    assert second.run() == ["End"]
    assert second.seen.tolist() == [2.0] * 4
    (cached,) = [e for e in second.events if isinstance(e, ev.NodesCached)]
    assert cached.nodes == ("2",)
    assert Life(tmp_path).run(names="789") == ["End"], "the names of nodes do not matter"


@pytest.mark.parametrize("change", ["input", "about", "damage", "loss"])
def test_what_it_depends_on_decides(tmp_path: Path, change: str) -> None:
    Life(tmp_path).run()
    (path,) = tmp_path.iterdir()
    if change == "damage":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "loss":
        later = Life(tmp_path)
        path.unlink()
        assert later.run() == ["Make", "Double", "End"]
        return
    again = Life(tmp_path, about="other" if change == "about" else None)
    assert again.run(1 if change == "input" else 0) == ["Make", "Double", "End"]


def test_the_budget_holds_and_what_was_used_last_stays(tmp_path: Path) -> None:
    def large() -> Any:
        return torch.ones(1000)

    life = Life(tmp_path, 10_000, value=large)
    life.run(1)
    life.run(2)
    assert Life(tmp_path, 10_000, value=large).run(1) == ["End"]
    life = Life(tmp_path, 10_000, value=large)
    life.run(3)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert Life(tmp_path, 10_000, value=large).run(1) == ["End"]
    assert Life(tmp_path, 10_000, value=large).run(2) == ["Make", "Double", "End"]


def test_what_no_file_can_hold_is_not_kept(tmp_path: Path) -> None:
    class Thing(float):
        def __mul__(self, other: Any) -> Any:
            return self

    life = Life(tmp_path, value=lambda: Thing(1))
    assert life.run() == ["Make", "Double", "End"]
    assert list(tmp_path.iterdir()) == []
    assert any("not kept on disk" in e.text for e in life.events if isinstance(e, ev.NodeLog))


def test_values_come_back_bit_for_bit(tmp_path: Path) -> None:
    odd = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    value = {"outputs": [[odd, odd.bfloat16().permute(3, 0, 1, 2)], [{"samples": torch.tensor(7), "n": (1, None, True, "ü", 0.1)}]]}
    save_value(tmp_path / "v", value)
    (first, second), (latent,) = load_value(tmp_path / "v")["outputs"]
    assert torch.equal(first, odd) and first.stride() == odd.stride()
    assert torch.equal(second, value["outputs"][0][1]) and second.dtype == torch.bfloat16
    assert latent["samples"].item() == 7 and latent["n"] == (1, None, True, "ü", 0.1)
    for bad in (math.nan, object(), {1: 2}, torch.ones(1, device="meta"), torch.nn.Parameter(torch.ones(1))):
        with pytest.raises(NotPlain):
            save_value(tmp_path / "w", [bad])
    (tmp_path / "x").write_bytes((tmp_path / "v").read_bytes().replace(b"value", b"vaule", 1))
    with pytest.raises(BadFile):
        load_value(tmp_path / "x")
