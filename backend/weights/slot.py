"""Where one weight comes from. A layer asks its slot; it never knows whether the answer was resident or read just now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Delta = Callable[[Tensor], Tensor]
"""Original weight -> patched weight. Called on the weight's device in the dtype `delta_dtype` chose; never edits its argument."""


class Slot(Protocol):
    """Answers with the weight on `device` in `dtype`, patches applied. The result must be treated as read-only."""

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor: ...
