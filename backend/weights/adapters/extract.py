"""A LoRA out of a difference of models: every weight of the difference as its closest product of two thin matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.weights.adapters.lowrank import closest
from backend.weights.merge import Weights


@dataclass(frozen=True)
class Extraction:
    """What is to be made."""

    rank: int
    whole: bool = False
    """Write differences out instead of making them thin."""
    biases: bool = True
    """Also biases and norms, written out."""
    dtype: torch.dtype = torch.float16
    device: str = "cpu"
    """Where the decompositions are computed; it must know float64."""


def extracted(weights: Weights, prefix: str, wish: Extraction, tick: Callable[[int, int], None]) -> dict[str, Tensor]:
    """The tensors of a LoRA, named `prefix` + module + part. `weights` hold a difference. `tick(done, of)` is called for every weight."""
    out: dict[str, Tensor] = {}
    names = list(weights)
    for done, name in enumerate(names):
        tick(done, len(names))
        module, _, leaf = name.rpartition(".")
        value = weights.value(name, wish.device)
        if leaf == "weight" and value.dim() >= 2 and not wish.whole:
            up, down = closest(value.flatten(1), wish.rank)
            ones = (1,) * (value.dim() - 2)
            out[f"{prefix}{module}.lora_up.weight"] = up.reshape(*up.shape, *ones).to("cpu", wish.dtype)
            out[f"{prefix}{module}.lora_down.weight"] = down.reshape(-1, *value.shape[1:]).to("cpu", wish.dtype)
        elif leaf == "weight" and (value.dim() >= 2 or wish.biases):
            out[f"{prefix}{module}.diff"] = value.to("cpu", wish.dtype)
        elif leaf == "bias" and wish.biases:
            out[f"{prefix}{module}.diff_b"] = value.to("cpu", wish.dtype)
    return out
