"""Seeing where a computation would stop an accelerator: wherever the host asks what is in a tensor that lies there, or brings numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = (
    "item", "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_consecutive", "bincount",
    "repeat_interleave.Tensor",
)  # fmt: skip


class Waits(TorchDispatchMode):
    """Counts questions about the values of `there` and of all that is computed from them, and tensors made of numbers of the host."""

    def __init__(self, there: Sequence[Any]) -> None:
        super().__init__()
        self.asked: list[str] = []
        for value in tree_leaves(there):
            mark(value)

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        there = any(getattr(value, "lies_there", False) for value in tree_leaves((args, dict(kwargs or {}))) if isinstance(value, Tensor))
        name = str(func).removeprefix("aten.")
        if _brings(func, args) or (there and (name.startswith(ASKING) or _picks(func, args))):
            self.asked.append(str(func))
        out = func(*args, **(kwargs or {}))
        if there:
            for value in tree_leaves(out):
                mark(value)
        return out


def mark(value: Any) -> None:
    """This tensor lies on the device."""
    if isinstance(value, Tensor):
        value.lies_there = True  # type: ignore[attr-defined]


def _brings(func: Any, args: Any) -> bool:
    """Whether it is what torch.tensor ends in, with several numbers of the host: when they go to the device it is waited for. One number
    alone goes there with what it is for."""
    return str(func).startswith("aten.lift_fresh") and args[0].ndim > 0


def _picks(func: Any, args: Sequence[Any]) -> bool:
    """Whether it takes the places where a tensor of truth values says so: how many those are has to be known."""
    picks = str(func).startswith("aten.index.Tensor") and args[1]
    return bool(picks) and any(isinstance(at, Tensor) and at.dtype == torch.bool for at in args[1])


@contextmanager
def unasked(*there: Any) -> Iterator[None]:
    """Within it nothing may be asked about what is computed from these."""
    with Waits(there) as waits:
        yield
    assert waits.asked == [], waits.asked
