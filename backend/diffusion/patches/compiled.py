"""Compile the blocks of a model's net with torch.compile. What was compiled stays on disk for the next start."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from backend.base.errors import NotInstalled
from backend.diffusion.handle import ModelHandle
from backend.nn.layers import Layer
from backend.weights.slot import Resident, Slot

_SHAPES = 64  # ways in which the blocks of one kind may differ before torch gives up on the rest; it would after 8


class Compile:
    """A tap around the net: its repeated blocks run compiled, and their weights stand where a compiler sees them.

    A net of which a part is brought at each use runs as it is: its weights are not there to compile against.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._calls: WeakKeyDictionary[nn.Module, Callable[..., Any]] = WeakKeyDictionary()

    @contextmanager
    def __call__(self, net: nn.Module) -> Iterator[None]:
        slots = [slot for layer in layers(net) for slot in layer.slots.values()]
        if not all(isinstance(slot, Resident) for slot in slots):
            yield
            return
        import torch._dynamo  # takes seconds, so only for those who compile

        blocks = repeated(net)
        with plain(net), torch._dynamo.config.patch(recompile_limit=_SHAPES):
            for block in blocks:
                if block not in self._calls:
                    self._calls[block] = torch.compile(block._call_impl, backend=self.backend)
                block._compiled_call_impl = self._calls[block]
            try:
                yield
            except torch._dynamo.exc.TorchDynamoException as error:
                cause = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
                hint = "A C++ compiler is needed on the CPU, Triton on a GPU. To run without, leave out TorchCompileModel, or --compile."
                raise NotInstalled(f"The model could not be compiled: {cause}", hint=hint) from error
            finally:
                for block in blocks:
                    block._compiled_call_impl = None


def compiled(model: ModelHandle, backend: str, folder: Path | None = None) -> ModelHandle:
    """The model with its blocks compiled by one of torch's compilers ("inductor", "cudagraphs", ...) when it first runs.

    What was compiled is kept below `folder`, where one is given. A model that is compiled already changes its compiler.
    """
    if folder is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "compiled"))
    others = tuple(tap for tap in model.taps.get("net", ()) if not isinstance(tap, Compile))
    return replace(model, taps={**model.taps, "net": (*others, Compile(backend))})


def layers(net: nn.Module) -> list[Layer]:
    return [module for module in net.modules() if isinstance(module, Layer)]


def repeated(net: nn.Module) -> list[nn.Module]:
    """The outermost modules of kinds that occur several times: what is compiled once serves them all."""
    kinds = Counter(type(m) for m in net.modules() if not isinstance(m, Layer))
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            own = not isinstance(child, (Layer, nn.ModuleList, nn.Sequential)) and any(isinstance(m, Layer) for m in child.modules())
            if own and kinds[type(child)] > 1:
                found.append(child)
            else:
                visit(child)

    visit(net)
    return found


@contextmanager
def plain(net: nn.Module) -> Iterator[None]:
    """Weights as parameters, in the layout everyone reads, instead of in slots."""
    held: list[tuple[Layer, dict[str, Slot], dict[str, Any]]] = []
    try:
        for layer in layers(net):
            held.append((layer, layer.slots, dict(layer._parameters)))
            for name, slot in layer.slots.items():
                assert isinstance(slot, Resident)
                weight = slot.settle()
                dense = weight.to_dense() if weight.is_mkldnn else weight
                layer._parameters[name] = nn.Parameter(dense, requires_grad=False)
            layer.slots = {}
        yield
    finally:
        for layer, slots, parameters in held:
            layer.slots = slots
            layer._parameters.update(parameters)
