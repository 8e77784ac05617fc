"""Weights that a safetensors or PyTorch file keeps in eight or four bits, with their scales beside them.

Known layouts of a layer's weight W:
- `W` in float8 with one scale, or one per row: `X.scale_weight`, `X.weight_scale` (W = stored * scale);
- `W` in int8 with `X.weight_scale` (W = stored * scale) or `X.SCB` (bitsandbytes, LLM.int8: W = stored * SCB / 127), as it is or, as
  `X.comfy_quant` says in JSON, turned in groups of channels (see turned.py);
- `W` as pairs of 4-bit codes with `W.absmax`, `W.quant_map` and `W.quant_state.bitsandbytes__nf4` or `__fp4` (bitsandbytes; QLoRA,
  Dettmers et al. 2023, sections 3 and 4: blocks of values share a scale, and the scales may be quantised again).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backend.weights.file import Entry, Listed, WeightFile, bad
from backend.weights.mapped import Place
from backend.weights.quant import turned
from backend.weights.quant.packed import FLOAT8, Narrow, Packed

_SCALES = ("scale_weight", "weight_scale")
_STATES = ("quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4")
_UNUSED = ("scale_input", "input_scale", "weight_format", "comfy_quant")
_MARK = "scaled_fp8"


def with_numbers(file: WeightFile) -> WeightFile:
    """`file` with the weights it keeps in few bits as numbers, and without what belongs to their storage; the same file when it has none.

    Raises BadFile when scales do not fit their weights.
    """
    found: dict[str, _Kept] = {}
    hidden: set[str] = set()
    for key, entry in file.items():
        kept = _kept(file, key, entry)
        if kept is not None:
            found[key] = kept
            hidden.update(kept.keys[1:])
    if not found:
        return file
    bases = {key.removesuffix("weight") for key in found}
    for base, group in turned.groups(file, [key.removesuffix("weight") for key, kept in found.items() if kept.kind == "int8"]).items():
        found[base + "weight"] = _turned(found[base + "weight"], group)
    hidden.update(base + name for base in bases for name in _UNUSED if base + name in file)
    hidden.update(key for key in file if key == _MARK or key.endswith("." + _MARK))
    return Stored(file, found, hidden)


@dataclass(frozen=True)
class _Kept:
    """One weight: the keys of its parts (the weight itself first), its form, and how it becomes numbers."""

    kind: str
    keys: tuple[str, ...]
    shape: tuple[int, ...]
    unpack: Callable[[Mapping[str, Tensor], tuple[int, ...]], Tensor]
    narrow: Narrow | None = None


class Stored(Listed):
    """A file whose weights are numbers again when they are asked for."""

    def __init__(self, file: WeightFile, kept: Mapping[str, _Kept], hidden: set[str]) -> None:
        self.file, self.path, self.metadata = file, file.path, file.metadata
        self._kept = kept
        self._entries = {key: self._entry(key, entry) for key, entry in file.items() if key not in hidden}

    def _entry(self, key: str, entry: Entry) -> Entry:
        kept = self._kept.get(key)
        return entry if kept is None else Entry(kept.shape, torch.float32, sum(self.file[part].nbytes for part in kept.keys))

    def tensor(self, key: str) -> Tensor:
        if key not in self._entries:
            raise KeyError(key)
        packed = self.packed(key) if key in self._kept else None
        return self.file.tensor(key) if packed is None else packed.dense()

    def packed(self, key: str) -> Packed | None:
        kept = self._kept.get(key)
        if kept is None:
            return self.file.packed(key)
        parts = {part.removeprefix(key.removesuffix("weight")): self.file.tensor(part) for part in kept.keys}
        return Packed(kept.kind, parts, kept.shape, kept.unpack, kept.narrow)

    def places(self, key: str) -> tuple[Place, ...]:
        kept = self._kept.get(key)
        return tuple(place for part in ((key,) if kept is None else kept.keys) for place in self.file.places(part))


def _kept(file: WeightFile, key: str, entry: Entry) -> _Kept | None:
    """How a tensor is kept, or None for one that is plain numbers."""
    base = key.removesuffix("weight")
    if entry.dtype in FLOAT8:
        kind = "fp8 e4m3" if entry.dtype == FLOAT8[0] else "fp8 e5m2"
        scale = next((base + name for name in _SCALES if base + name in file), None) if base != key else None
        if scale is None:
            return None
        return _scaled(file, kind + " with scales", key, entry, scale, 1.0)
    if base == key:
        return None
    if entry.dtype == torch.int8:
        if base + "SCB" in file:
            return _scaled(file, "int8", key, entry, base + "SCB", 1 / 127)
        if base + "weight_scale" in file:
            return _scaled(file, "int8", key, entry, base + "weight_scale", 1.0)
    if entry.dtype == torch.uint8:
        state = next((f"{key}.{name}" for name in _STATES if f"{key}.{name}" in file), None)
        if state is not None:
            return _four_bits(file, key, entry, state)
    return None


def _scaled(file: WeightFile, kind: str, key: str, entry: Entry, scale: str, factor: float) -> _Kept:
    count, rows = math.prod(file[scale].shape), entry.shape[0] if entry.shape else 1
    if count not in (1, rows):
        raise bad(file.path, f"{scale} has {count} scales for a weight of {rows} rows")
    own = scale.removeprefix(key.removesuffix("weight"))

    def unpack(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        scales = parts[own].float().reshape(-1, *[1] * (len(shape) - 1)) if shape else parts[own].float().reshape(())
        return parts["weight"].float() * (scales * factor)

    def read(parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        return parts["weight"], parts[own].float().reshape(-1) * factor

    return _Kept(kind, (key, scale), entry.shape, unpack, Narrow(entry.dtype, "whole" if count == 1 else "rows", read))


def _turned(kept: _Kept, group: int) -> _Kept:
    """A weight whose numbers are to be turned back."""
    narrow = kept.narrow
    assert narrow is not None

    def unpack(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        values, scale = narrow.read(parts)
        assert scale is not None
        return turned.numbers(values, scale, group)

    return replace(kept, kind="int8 rotated", unpack=unpack, narrow=replace(narrow, group=group))


def _four_bits(file: WeightFile, key: str, entry: Entry, state: str) -> _Kept:
    told = _state(file, state)
    try:
        shape, block = tuple(int(n) for n in told["shape"]), int(told["blocksize"])
        nested = int(told["nested_blocksize"]) if "nested_blocksize" in told else 0
        offset = float(told.get("nested_offset", 0.0))
    except (KeyError, TypeError, ValueError) as error:
        raise bad(file.path, f"{state} does not say how its weight is kept: {error!r}") from error
    names = ["absmax", "quant_map", *(["nested_absmax", "nested_quant_map"] if nested else [])]
    missing = [f"{key}.{name}" for name in names if f"{key}.{name}" not in file]
    count = math.prod(shape)
    if missing:
        raise bad(file.path, f"{missing[0]} is missing")
    scales = math.prod(file[f"{key}.absmax"].shape)
    if block <= 0 or min(shape, default=1) < 0 or math.prod(entry.shape) != -(-count // 2) or scales != -(-count // block):
        raise bad(file.path, f"{key} and its scales do not have the sizes that {state} claims")

    def unpack(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = parts["weight"].reshape(-1)
        absmax = parts["weight.absmax"]
        if nested:
            absmax = parts["weight.nested_quant_map"].float()[absmax.long()]
            coarse = parts["weight.nested_absmax"].float().repeat_interleave(nested)[: len(absmax)]
            absmax = absmax * coarse + offset
        table = parts["weight.quant_map"].float()
        numbers = table[torch.stack([codes >> 4, codes & 15], 1).reshape(-1).long()][:count]
        return (numbers * absmax.float().repeat_interleave(block)[:count]).reshape(shape)

    return _Kept("nf4" if state.endswith("nf4") else "fp4", (key, *(f"{key}.{name}" for name in names), state), shape, unpack)


def _state(file: WeightFile, key: str) -> dict[str, Any]:
    try:
        told = json.loads(bytes(file.tensor(key).reshape(-1).tolist()))
    except ValueError as error:
        raise bad(file.path, f"{key} is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise bad(file.path, f"{key} is no table")
    return told
