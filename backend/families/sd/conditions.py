"""What a Stable Diffusion net is told besides the noisy latent, and how it is run.

A family puts together what its kind of net takes: `told(...)` makes its `inputs`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.families import Inputs
from backend.families.prompt import tokens
from backend.families.sd.unet import UNetSizes
from backend.nn.embeddings import timestep_embedding

Cond = dict[str, Any]
Shown = Callable[[Cond, Sequence[int]], Tensor]
"""(one conditioning entry, the latent's shape) -> what is joined to the latents along channels [n, channels, H, W]."""
Vector = Callable[[Cond, UNetSizes, Sequence[int]], Tensor]
"""(one conditioning entry, sizes, the latent's shape) -> the vector condition [n, adm] or class labels [n]."""

GUIDANCE = 7.5
"""What a net that is told the guidance scale assumes where nobody says."""


def told(name: str, shown: Shown | None = None, vector: Vector | None = None) -> Inputs:
    """A family's `inputs`: the text, and whatever else its nets take. `name` is the family's in messages.

    They raise BadInput for a text of another model and where a condition that the net cannot do without is missing.
    """

    def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
        assert isinstance(sizes, UNetSizes)
        context = tokens(conds, sizes.context, name, "Use the text encoder that belongs to the model.")
        made = {"context": context}
        if shown is not None:
            made["concat"] = torch.cat([shown(cond, shape) for cond in conds])
        if vector is not None:
            made["y"] = torch.cat([vector(cond, sizes, shape) for cond in conds])
        if sizes.guidance is not None:
            made["guidance"] = torch.cat([guidance_embedding(float(cond.get("guidance", GUIDANCE)), sizes.guidance) for cond in conds])
        return made

    return inputs


def guidance_embedding(scale: float, width: int) -> Tensor:
    """[1, width]: sines, then cosines, of a thousand times the guidance scale less one (Luo et al. 2023, arXiv:2310.04378).

    Its scale counts from 1 for no guidance; the net was taught the paper's w, which counts from 0.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = (scale - 1) * 1000 * frequencies
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()]), (0, width - 2 * half))[None]


def numbers_embedding(numbers: Sequence[float], width: int) -> Tensor:
    """[1, len(numbers) * width]: each number embedded as a timestep is, side by side (Podell et al. 2023, section 2.2)."""
    return timestep_embedding(torch.tensor([float(n) for n in numbers]), width).reshape(1, -1)


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net; what it is shown is joined to x along channels."""
    rest = dict(kwargs)
    concat = rest.pop("concat", None)
    if concat is not None:
        x = torch.cat([x, concat.to(x.dtype)], dim=1)
    out: Tensor = net(x.contiguous(memory_format=torch.channels_last), t, **rest)
    return out


def forward_shown_first(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """As `forward`, for nets that take what they are shown before the noisy latent."""
    rest = dict(kwargs)
    out: Tensor = net(torch.cat([rest.pop("concat").to(x.dtype), x], dim=1).contiguous(memory_format=torch.channels_last), t, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: about forty maps at full resolution, counting skips and the feed-forward."""
    assert isinstance(sizes, UNetSizes)
    batch, height, width = shape[0], shape[-2], shape[-1]
    return 40 * batch * height * width * sizes.channels[0] * 4
