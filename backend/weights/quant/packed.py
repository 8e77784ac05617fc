"""A weight in the few bits in which its file keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Unpack = Callable[[Mapping[str, Tensor], tuple[int, ...]], Tensor]
"""(parts, shape) -> the weight in float32, on the device of its parts."""
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Narrow:
    """That a weight is values of eight bits times factors, of the whole or of each row, and so can be multiplied as it is."""

    dtype: torch.dtype
    """Of the values."""
    scaled: Literal["", "whole", "rows"]
    """What has a factor of its own."""
    read: Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor | None]]
    """parts -> the values in the shape of the weight, and the factors (None: 1)."""
    group: int = 1
    """Channels that were turned together before they were rounded, as those of what is multiplied have to be (see turned.py); 1: none."""


@dataclass(frozen=True)
class Packed:
    """What `unpack` makes a weight of `shape` from: the quantised values and their scales."""

    kind: str
    parts: Mapping[str, Tensor]
    shape: tuple[int, ...]
    unpack: Unpack
    narrow: Narrow | None = None
    multiplied: bool = False
    """Whether products are to be computed in these bits."""

    @property
    def nbytes(self) -> int:
        """Bytes the weight takes in this form."""
        return sum(part.nbytes for part in self.parts.values())

    def to(self, device: torch.device) -> Packed:
        """A private copy on `device`."""
        return self.moved(lambda part: part.to(device, copy=True))

    def moved(self, move: Callable[[Tensor], Tensor]) -> Packed:
        """The same of other parts: what `move` makes of each."""
        return replace(self, parts={name: move(part) for name, part in self.parts.items()})

    def dense(self) -> Tensor:
        """The weight in float32."""
        return self.unpack(self.parts, self.shape)


def unpacks(device: torch.device) -> bool:
    """Whether numbers can be made from few bits there. Apple's GPUs know neither float8 nor all operations on small integers."""
    return device.type != "mps"


def float8(weight: Tensor) -> Packed:
    """A weight in float8 without scales."""
    narrow = Narrow(weight.dtype, "", lambda parts: (parts["weight"], None))
    return Packed("fp8", {"weight": weight}, tuple(weight.shape), lambda parts, shape: parts["weight"].float(), narrow)


def stacked(pieces: Sequence[Packed]) -> Packed:
    """Several weights as one, along the first axis."""
    rows = sum(piece.shape[0] for piece in pieces)
    parts = {f"{i}.{name}": part for i, piece in enumerate(pieces) for name, part in piece.parts.items()}

    def apart(parts: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        own: list[dict[str, Tensor]] = [{} for _ in pieces]
        for name, part in parts.items():
            number, _, rest = name.partition(".")
            own[int(number)][rest] = part
        return own

    def unpack(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.cat([piece.unpack(mine, piece.shape) for piece, mine in zip(pieces, apart(parts), strict=True)])

    narrow, multiplied = _narrow([piece.narrow for piece in pieces], apart), all(piece.multiplied for piece in pieces)
    return Packed(pieces[0].kind, parts, (rows, *pieces[0].shape[1:]), unpack, narrow, multiplied)


def _narrow(pieces: Sequence[Narrow | None], apart: Callable[[Mapping[str, Tensor]], list[dict[str, Tensor]]]) -> Narrow | None:
    """Of pieces in one type: their values one above the other, with a factor for each row unless none has any."""
    known = [piece for piece in pieces if piece is not None]
    if len(known) < len(pieces) or len({(piece.dtype, piece.group) for piece in known}) > 1:
        return None

    def read(parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        found = [piece.read(mine) for piece, mine in zip(known, apart(parts), strict=True)]
        values = torch.cat([value.view(torch.uint8) for value, _ in found]).view(known[0].dtype)
        if all(scale is None for _, scale in found):
            return values, None
        ones = torch.ones(1, device=values.device)
        return values, torch.cat([(ones if scale is None else scale).expand(len(value)) for value, scale in found])

    return Narrow(known[0].dtype, "rows" if any(piece.scaled for piece in known) else "", read, known[0].group)
