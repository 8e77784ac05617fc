"""Keeps what comes first in a stream from step to step, as it is the same at every one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backend.families.qwen_image21.net import Past


@dataclass(eq=False)
class PrefixCache:
    """A tap of a model: filled at the first step of a sampling, empty after the last."""

    device: str = ""
    """"cpu" to keep it in the machine's memory; else where it was made."""
    dtype: torch.dtype | None = None
    """What it is kept in; None: as it was made."""
    _kept: dict[Any, Past] = field(default_factory=dict, repr=False)

    def begin(self, model: Any, sigmas: Tensor) -> None:
        self._kept.clear()

    def end(self) -> None:
        self._kept.clear()

    def get(self, key: Any, like: Tensor) -> Past | None:
        """Keys and values as `like` computes, or None where there are none."""
        past = self._kept.get(key)
        return None if past is None else [(k.to(like), v.to(like)) for k, v in past]

    def put(self, key: Any, past: Past) -> None:
        self._kept[key] = [(self._stored(k), self._stored(v)) for k, v in past]

    def _stored(self, x: Tensor) -> Tensor:
        return x.to(self.device or x.device, self.dtype or x.dtype)
