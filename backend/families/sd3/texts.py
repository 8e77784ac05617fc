"""How Stable Diffusion 3 hears its text encoders (Esser et al. 2024, section 4): CLIP-L and bigG side by side, T5 after them.

Any of the three may be missing; what it would have said is then zero, or left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.encoders.clip.handle import ClipHandle
from backend.encoders.joint import JointText
from backend.encoders.text import Encoded, SingleEncoder, TextEncoder
from backend.families.joining import Joiner, by_branch

LENGTH = 77
"""Tokens of T5 that every prompt has at least."""
WIDTH = 4096
L_POOLED, G_POOLED = 768, 1280


def mix(parts: Mapping[str, Encoded]) -> Encoded:
    """L and bigG side by side, filled up with zeros to T5's width, then T5's tokens; the pooled vectors of L and bigG side by side."""
    l, g, t5 = (parts.get(branch) for branch in ("l", "g", "t5xxl"))
    width = WIDTH if t5 is None else t5.cond.shape[-1]
    both = [part.cond for part in (l, g) if part is not None]
    tokens: list[Tensor] = []
    if both:
        length = min(cond.shape[1] for cond in both)
        if l is None:
            both = [both[0].new_zeros(1, length, L_POOLED), *both]
        wide = torch.cat([cond[:, :length] for cond in both], dim=-1)
        tokens.append(F.pad(wide, (0, max(0, width - wide.shape[-1]))))
    if t5 is not None:
        tokens.append(t5.cond)
    if not tokens:
        tokens.append(torch.zeros(1, LENGTH, width))
    pooled = [_pooled(l, L_POOLED), _pooled(g, G_POOLED)]
    return Encoded(torch.cat(tokens, dim=1), torch.cat(pooled, dim=-1))


def _pooled(part: Encoded | None, width: int) -> Tensor:
    return torch.zeros(1, width) if part is None or part.pooled is None else part.pooled


def join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    """Up to one of each. CLIP's are read at the last layer but one without the final norm; L's pooled vector is not projected."""
    found = by_branch(encoders)
    if not found or not found.keys() <= {"l", "g", "t5xxl"}:
        return None
    parts: list[SingleEncoder] = []
    for branch in ("l", "g", "t5xxl"):
        if branch == "t5xxl" and branch in found:
            parts.append(found[branch].with_options(t5xxl_min_length=LENGTH))
        elif branch in found:
            clip = cast(ClipHandle, found[branch])
            parts.append(replace(clip, layer=-2, norm=False, projected=branch == "g"))
    return JointText(tuple(parts), mix, optional=True)


SD3 = Joiner(
    "Stable Diffusion 3",
    "CLIP-L, OpenCLIP-bigG and T5 v1.1 XXL, or some of them",
    ("sd3",),
    join,
    usual=(frozenset({"l", "g", "t5xxl"}), frozenset({"g", "t5xxl"})),
)
