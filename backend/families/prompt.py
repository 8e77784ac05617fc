"""What nets of any family are told of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput


def tokens(conds: Iterable[Mapping[str, Any]], width: int, name: str, hint: str) -> Tensor:
    """The prompts' tokens [B, L, width] for a model of the family `name`. Raises BadInput for a text of another model."""
    context = torch.cat([cond["cross_attn"] for cond in conds])
    if context.shape[-1] != width:
        raise BadInput(f"The text encoding is {context.shape[-1]} wide, but this {name} model takes {width}.", hint=hint)
    return context
