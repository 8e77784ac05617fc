"""A compiled model gives what it gives uncompiled, and the net is as it was afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from backend.base.errors import NotInstalled
from backend.diffusion.patches.compiled import Compile, compiled, plain, repeated
from backend.memory.pool import Loadable, Pool
from backend.nn.blocks import TransformerBlock
from backend.nn.layers import Linear, init_weights
from tests.diffusion.toy import toy_model


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The compiler's trace of itself costs more than its work where pytest keeps every line."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Linear(16, 16)
        self.blocks = nn.ModuleList(TransformerBlock(16, 8, 2) for _ in range(3))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x, context)
        return x


def loadable() -> Loadable:
    torch.manual_seed(0)
    return Loadable("net", Net, {k: v.detach() for k, v in init_weights(Net()).state_dict().items()})


X, CONTEXT = torch.randn(2, 5, 16), torch.randn(2, 3, 8)


def test_the_outermost_repeated_blocks_are_compiled() -> None:
    net = Net()
    assert repeated(net) == list(net.blocks)


def test_compiled_equals_plain_and_leaves_no_trace() -> None:
    seen: list[int] = []

    def counting(graph: torch.fx.GraphModule, _: object) -> object:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    pool, tap = Pool(), Compile(counting)  # type: ignore[arg-type]
    with torch.inference_mode(), pool.lease(loadable()) as net:
        expected = net(X, CONTEXT)
        for _ in range(2):
            with tap(net):
                assert torch.equal(net(X, CONTEXT), expected)
        assert len(seen) == 1, "one block was compiled, whole, for all three, once"
        assert torch.equal(net(X, CONTEXT), expected) and all(block._compiled_call_impl is None for block in net.blocks)
        assert all(layer.weight.is_meta and layer.slots for layer in net.modules() if isinstance(layer, Linear))


def test_what_is_brought_at_each_use_runs_as_it_is() -> None:
    with torch.inference_mode(), Pool(budget=0).lease(loadable()) as net, Compile("eager")(net):
        assert net.blocks[0]._compiled_call_impl is None
        net(X, CONTEXT)


def test_a_compiler_that_fails_is_named() -> None:
    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("no compiler here")

    with torch.inference_mode(), Pool().lease(loadable()) as net:
        with pytest.raises(NotInstalled, match="no compiler here"), Compile(broken)(net):  # type: ignore[arg-type]
            net(X, CONTEXT)
        net(X, CONTEXT)


def test_weights_come_back_when_something_fails() -> None:
    with torch.inference_mode(), Pool().lease(loadable()) as net:
        with pytest.raises(KeyError), plain(net):
            raise KeyError
        assert net.first.slots and net.first.weight.is_meta


def test_a_model_has_one_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    model = toy_model().with_tap("net", len)
    once = compiled(model, "inductor", tmp_path)
    twice = compiled(once, "cudagraphs")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere", "what a person has set stands"
    assert model.taps["net"] == twice.taps["net"][:1] == (len,)
    assert [tap.backend for tap in twice.taps["net"][1:]] == ["cudagraphs"]
