"""Nets that overflow in half precision, and nets that are broken, run by the executor through the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor, nn

from backend.base import events as ev
from backend.engine.executor import Executor, Job
from backend.graph.declare import Float, node
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.schema import Socket
from backend.memory.finite import Finite, all_finite
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Linear

Json = dict[str, Any]


@dataclass(frozen=True)
class Handle:
    """What travels on the wire of a model."""

    loadable: Loadable


_Model = Annotated[Handle, Socket("MODEL")]
_Value = Annotated[Tensor, Socket("VALUE")]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Linear(4, 4, bias=False)
        self.second = Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def handle(weight: float, dtype: torch.dtype = torch.float16) -> Handle:
    source = {"first.weight": torch.eye(4), "second.weight": torch.eye(4) * weight}
    return Handle(Loadable(f"net.safetensors@{weight}{dtype}", Net, source, dtype=dtype))


class World:
    """An executor with nodes that make a net and run it."""

    def __init__(self, weight: float, dtype: torch.dtype = torch.float16, checked: bool = True) -> None:
        self.pool, self.calls, self.events = Pool(), list[torch.dtype](), list[ev.Event]()
        world = self

        @node("Make", title="Make", category="test")
        def make(ctx: Any) -> _Model:
            return handle(weight, dtype)

        @node("Use", title="Use", category="test", output=True)
        def use(ctx: Any, *, model: _Model, value: float = Float(1.0)) -> _Value:
            loadable = model.loadable
            world.calls.append(loadable.dtype)
            with world.pool.lease(loadable) as net:
                return net(torch.full((1, 4), value, dtype=loadable.dtype)).float()

        checker = Finite(self.pool) if checked else None
        types = [make.node_type, use.node_type]  # type: ignore[attr-defined]
        self.executor = Executor(Registry(types), self.events.append, around=torch.inference_mode, checker=checker)

    def run(self, value: float = 1.0) -> Any:
        graph = {"1": {"class_type": "Make", "inputs": {}}, "2": {"class_type": "Use", "inputs": {"model": ["1", 0], "value": value}}}
        return self.executor.run(Job("j", Prompt.parse(graph), ("2",)))

    def said(self) -> str:
        return " ".join(e.text for e in self.events if isinstance(e, ev.NodeLog))


def test_an_overflow_in_half_precision_is_traced_and_avoided() -> None:
    world = World(60000.0)
    assert world.run(2.0).status == "success"
    assert world.calls == [torch.float16, torch.float16, torch.float32]
    assert "layer second of net.safetensors" in world.said()
    assert "float16" in world.said()


def test_a_broken_net_is_named_and_its_result_goes_nowhere() -> None:
    world = World(float("nan"))
    outcome = world.run()
    assert outcome.status == "error"
    assert outcome.error is not None
    assert "layer second of net.safetensors" in outcome.error.message
    assert outcome.error.node == "2"
    broken = World(float("inf"), torch.float32)
    assert broken.run().status == "error"
    assert broken.calls == [torch.float32] * 2, "there is nothing better than float32 to try"
    good = World(1.0)
    assert good.run().status == "success"
    assert good.calls == [torch.float16], "a sound run costs one call"


def test_the_next_run_is_not_harmed() -> None:
    world = World(60000.0)
    assert world.run(2.0).status == "success"
    world.calls.clear()
    assert world.run(1.0).status == "success"
    assert world.calls == [torch.float16]
    assert world.pool.watch is None


@pytest.mark.parametrize(
    ("value", "finite"),
    [
        (torch.ones(3), True),
        (torch.tensor([1.0, float("nan")]), False),
        (torch.tensor([1, 2]), True),
        ([(torch.ones(1), {"samples": torch.tensor(float("inf"))})], False),
        ({"a": [torch.ones(2, dtype=torch.float16)]}, True),
        ("text", True),
        (None, True),
    ],
)
def test_what_is_finite(value: Any, finite: bool) -> None:
    assert all_finite(value) is finite
