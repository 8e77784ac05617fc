"""Time as sines and cosines."""

from __future__ import annotations

from typing import Any

from backend.nn.embeddings import timestep_embedding as embedding


def timestep_embedding(t: Any, dim: int, max_period: int = 10000, time_factor: float = 1000.0) -> Any:
    """t [B] in 0..1 -> [B, dim], cosines first."""
    return embedding(t * time_factor, dim, max_period)
