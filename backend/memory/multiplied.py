"""Which weights of a net stay in the eight bits of their file because products are computed in them, and what adapters add beside those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from backend.nn import eight
from backend.nn.layers import Layer
from backend.weights.file import Views
from backend.weights.quant.packed import Packed
from backend.weights.slot import Delta


def eights(places: Mapping[str, tuple[Layer, str]], source: object, device: torch.device, dtype: torch.dtype) -> dict[str, Packed]:
    """The weights of matrix products that their file keeps in eight bits, where that is wished for and the device multiplies them."""
    if not isinstance(source, Views):
        return {}
    found = {name: source.file.packed(name) for name, (layer, own) in places.items() if layer.multiplies(own)}
    return {name: packed for name, packed in found.items() if packed is not None and eight.takes(packed, device, dtype)}


def thin(weights: Mapping[str, Packed], deltas: Mapping[str, Sequence[Delta]]) -> dict[str, tuple[eight.Thin, ...]]:
    """What patches add beside these weights, as thin matrices. Weights with patches that are none are missing: they exist as numbers only.

    Added to the eight bits themselves, the change of a usual LoRA would mostly be rounded away.
    """
    found = {name: _pairs(deltas.get(name, ()), packed.shape[0]) for name, packed in weights.items()}
    return {name: pairs for name, pairs in found.items() if pairs is not None}


def _pairs(deltas: Iterable[Delta], rows: int) -> tuple[eight.Thin, ...] | None:
    made: list[eight.Thin] = []
    for delta in deltas:
        pair: eight.Thin | None = getattr(delta, "thin", lambda rows: None)(rows)
        if pair is None:
            return None
        made.append(pair)
    return tuple(made)
