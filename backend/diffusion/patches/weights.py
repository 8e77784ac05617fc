"""Patches of weights by name alone: attention made stronger or weaker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from backend.weights.patch import Patch
from backend.weights.slot import Delta


def scaled(keys: Iterable[str], factors: Mapping[str, float]) -> list[Patch]:
    """A patch for each key that ends in one of the suffixes, multiplying the weight by its factor; factors of 1 are left out.

    Suffixes name a layer ("attn1.to_q"); its weight and bias are both scaled.
    """
    found = []
    for key in keys:
        layer = key.rpartition(".")[0]
        for suffix, factor in factors.items():
            if factor != 1 and (layer == suffix or layer.endswith(f".{suffix}")):
                found.append(Patch(key, factor, "scaled", _times(factor)))
    return found


def _times(factor: float) -> Delta:
    def delta(weight: Tensor) -> Tensor:
        return weight * factor

    return delta
