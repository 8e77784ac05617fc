"""A weight in the few bits in which its file keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Unpack = Callable[[Mapping[str, Tensor], tuple[int, ...]], Tensor]
"""(parts, shape) -> the weight in float32, on the device of its parts."""


FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Packed:
    """What `unpack` makes a weight of `shape` from: the quantised values and their scales."""

    kind: str
    parts: Mapping[str, Tensor]
    shape: tuple[int, ...]
    unpack: Unpack

    @property
    def nbytes(self) -> int:
        """Bytes the weight takes in this form."""
        return sum(part.nbytes for part in self.parts.values())

    def to(self, device: torch.device) -> Packed:
        """A private copy on `device`."""
        return Packed(self.kind, {name: part.to(device, copy=True) for name, part in self.parts.items()}, self.shape, self.unpack)

    def dense(self) -> Tensor:
        """The weight in float32."""
        return self.unpack(self.parts, self.shape)


def float8(weight: Tensor) -> Packed:
    """A weight in float8 without scales."""
    return Packed("fp8", {"weight": weight}, tuple(weight.shape), lambda parts, shape: parts["weight"].float())


def stacked(pieces: Sequence[Packed]) -> Packed:
    """Several weights as one, along the first axis."""
    rows = sum(piece.shape[0] for piece in pieces)
    parts = {f"{i}.{name}": part for i, piece in enumerate(pieces) for name, part in piece.parts.items()}

    def unpack(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        own: list[dict[str, Tensor]] = [{} for _ in pieces]
        for name, part in parts.items():
            number, _, rest = name.partition(".")
            own[int(number)][rest] = part
        return torch.cat([piece.unpack(mine, piece.shape) for piece, mine in zip(pieces, own, strict=True)])

    return Packed(pieces[0].kind, parts, (rows, *pieces[0].shape[1:]), unpack)
