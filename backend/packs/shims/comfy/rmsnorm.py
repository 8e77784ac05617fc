"""Division by the root mean square."""

from __future__ import annotations

from typing import Any

import torch

RMSNorm = torch.nn.RMSNorm


def rms_norm(x: Any, weight: Any = None, eps: float = 1e-6) -> Any:
    """x over the root of the mean square of its last dimension, times the weight."""
    if weight is not None:
        weight = weight.to(dtype=x.dtype, device=x.device)
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, eps)
