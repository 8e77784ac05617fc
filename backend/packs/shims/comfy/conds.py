"""Values that a net is told, with how they are batched."""

from __future__ import annotations

import math
from typing import Any

import torch

from backend.diffusion.batching import repeated


def _fitted(tensor: Any, batch_size: int) -> Any:
    return repeated(tensor, batch_size)


class CONDRegular:
    """A tensor [n, ...]; n is repeated to the batch. Older packs name the device too; values are moved with the net's inputs."""

    def __init__(self, cond: Any) -> None:
        self.cond = cond

    def _copy_with(self, cond: Any) -> Any:
        return self.__class__(cond)

    def process_cond(self, batch_size: int, device: Any = None, **kwargs: Any) -> Any:
        return self._copy_with(_fitted(self.cond, batch_size))

    def can_concat(self, other: Any) -> bool:
        return self.cond.shape == other.cond.shape

    def concat(self, others: Any) -> Any:
        return torch.cat([self.cond, *(o.cond for o in others)])

    def size(self) -> Any:
        return list(self.cond.size())


class CONDNoiseShape(CONDRegular):
    """As large as the latents: cropped to an area with them."""

    def process_cond(self, batch_size: int, device: Any = None, area: Any = None, **kwargs: Any) -> Any:
        data = self.cond
        if area is not None:
            dims = len(area) // 2
            for i in range(dims):
                data = data.narrow(i + 2, area[i + dims], area[i])
        return self._copy_with(_fitted(data, batch_size))


class CONDCrossAttn(CONDRegular):
    """Tokens [n, tokens, dim]; lists of different length are repeated whole until they match."""

    def can_concat(self, other: Any) -> bool:
        a, b = self.cond.shape, other.cond.shape
        if a == b:
            return True
        return a[0] == b[0] and a[2] == b[2] and math.lcm(a[1], b[1]) // min(a[1], b[1]) <= 4

    def concat(self, others: Any) -> Any:
        parts = [self.cond, *(o.cond for o in others)]
        length = math.lcm(*(p.shape[1] for p in parts))
        return torch.cat([p.repeat(1, length // p.shape[1], 1) for p in parts])


class CONDConstant(CONDRegular):
    """One value for the whole batch."""

    def process_cond(self, batch_size: int, device: Any = None, **kwargs: Any) -> Any:
        return self._copy_with(self.cond)

    def can_concat(self, other: Any) -> bool:
        return self.cond == other.cond

    def concat(self, others: Any) -> Any:
        return self.cond

    def size(self) -> Any:
        return [1]


class CONDList(CONDRegular):
    """Several tensors."""

    def process_cond(self, batch_size: int, device: Any = None, **kwargs: Any) -> Any:
        return self._copy_with([_fitted(c, batch_size) for c in self.cond])

    def can_concat(self, other: Any) -> bool:
        return len(self.cond) == len(other.cond) and all(a.shape == b.shape for a, b in zip(self.cond, other.cond))

    def concat(self, others: Any) -> Any:
        return [torch.cat([own, *(o.cond[i] for o in others)]) for i, own in enumerate(self.cond)]

    def size(self) -> Any:
        return [sum(math.prod(c.shape) for c in self.cond)]
