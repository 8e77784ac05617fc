"""Pictures beside a batch that several entries of the conditioning share: each entry is a member, with a row for every latent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backend.diffusion.batching import repeated


def for_members(made: Tensor, rows: int, members: int) -> Tensor:
    """What was made of the pictures [n, ...] as [rows, ...]: cycled or cut to one for each latent, for every member from the first."""
    return repeated(made if made.shape[0] == 1 else repeated(made, rows // members), rows)


def members_in(facts: Mapping[str, Any]) -> int:
    """How many members share the batch that a tap is told of."""
    return len(facts.get("cond_or_uncond", ("",)))
