"""Weights that were turned before they were rounded, so that no channel stands out (ConvRot: Huang et al. 2025, arXiv:2512.03673).

Of each row, groups of channels are multiplied with a regular Hadamard matrix: H₄ has a row [1, 1, 1, -1] and its turns, larger ones are
Kronecker powers of it, divided by the root of their size. They are symmetric and their own inverses, so turning twice changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from backend.base import jsonable
from backend.base.errors import BadInput
from backend.weights.file import WeightFile, bad

USUAL = 256
"""Channels of a group where nothing is said."""
_LARGEST = 4096
_BAND = 64
_LAYERS = "_quantization_metadata"
_MARK = "comfy_quant"


def turned(weight: Tensor, group: int) -> Tensor:
    """[..., n], n a multiple of `group`, a power of 4 -> the same shape, each group of channels times the Hadamard matrix.

    The matrix is the Kronecker product of two small ones, so they are applied one after the other.
    """
    return _times(weight, *_factors(group, weight))


def numbers(values: Tensor, scale: Tensor, group: int) -> Tensor:
    """The weight in float32 of values [rows, n] that were rounded after turning, and their scale: one, or [rows].

    On a CPU in bands of rows that stay in its cache, a third of the time it takes at once.
    """
    out = torch.empty(values.shape, device=values.device)
    factors, scale = _factors(group, out), scale.reshape(-1, *[1] * (values.ndim - 1))
    rows = _BAND if values.device.type == "cpu" else max(1, len(values))
    for i in range(0, len(values), rows):
        part = slice(i, i + rows)
        torch.mul(_times(values[part].float(), *factors), scale[part] if len(scale) > 1 else scale, out=out[part])
    return out


def _factors(group: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Of the Hadamard matrix of `group` channels: the outer one, the inner one."""
    inner = 4 ** (_power(group) - _power(group) // 2)
    return hadamard(group // inner, like), hadamard(inner, like)


def _times(weight: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    cells = (weight.reshape(-1, len(inner)) @ inner).view(-1, len(outer), len(inner))
    return (outer @ cells if len(outer) > 1 else cells).reshape(weight.shape)


def hadamard(size: int, like: Tensor) -> Tensor:
    """[size, size] on the device and in the type of `like`, exactly; `size` is a power of 4, or 1."""
    matrix, four = like.new_ones(1, 1), (1 - 2 * torch.eye(4, device=like.device, dtype=like.dtype).flip(0)) / 2
    for _ in range(_power(size)):
        matrix = torch.kron(matrix, four)
    return matrix


def groups(file: WeightFile, bases: list[str]) -> dict[str, int]:
    """Channels of a group for each of `bases` (names of layers, with the dot) whose weights were turned, as marks beside them or in the
    file's header say. Raises BadFile where they say what cannot be, and where only the file's name says that there is something to undo.
    """
    found = {base: said for base in bases if (said := _said(file, base)) is not None}
    if not found and "convrot" in file.path.name.lower():
        hint = "Use another form of this model: bf16, fp8 or GGUF."
        raise bad(file.path, "it is named as one whose int8 weights were rotated (convrot), but does not say which", hint)
    out = {}
    for base, said in found.items():
        if not said.get("convrot"):
            continue
        size, channels = said.get("convrot_groupsize", USUAL), file[base + "weight"].shape[-1]
        if not isinstance(size, int) or not 4 <= size <= _LARGEST or 4 ** _power(size) != size or channels % size:
            raise bad(file.path, f"{base}weight, {channels} channels wide, is said to be rotated in groups of {size!r}")
        out[base] = size
    return out


def _said(file: WeightFile, base: str) -> Mapping[str, Any] | None:
    """What the file says of how a layer is kept, or None."""
    key = base + _MARK
    if key not in file:
        return _layers(file.metadata.get(_LAYERS, "")).get(base.rstrip("."))
    try:
        said = jsonable.loads(file.tensor(key).contiguous().view(torch.uint8).numpy().tobytes())
    except BadInput as error:
        raise bad(file.path, f"{key} does not say how its weight is kept: {error}") from error
    return said if isinstance(said, dict) else {}


@functools.lru_cache(maxsize=4)
def _layers(text: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        said = jsonable.loads(text) if text else {}
    except BadInput:
        return {}
    layers = said.get("layers") if isinstance(said, dict) else None
    return {name: one for name, one in layers.items() if isinstance(one, dict)} if isinstance(layers, dict) else {}


def _power(size: int) -> int:
    """The largest power of 4 that is not more than `size`."""
    return (size.bit_length() - 1) // 2
