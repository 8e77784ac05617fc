"""What a Stable Diffusion net is told besides the noisy latent, and how it is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.latent import SD1
from backend.families.sd.unet import UNetSizes

LATENT = 4
INPAINT, EDIT = 9, 8
"""Input channels: latent, mask and masked image (inpainting); latent and image (instruct-pix2pix)."""
GREY = (0.8223, -0.6876, 0.6364, 0.1380)
"""A mid-grey image as the net sees it: what an inpainting net is shown where no image was given."""


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """Text context, and for nets with more than four input channels the image condition. Raises BadInput for a text of another model."""
    assert isinstance(sizes, UNetSizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    if context.shape[-1] != sizes.context:
        raise BadInput(
            f"The text encoding is {context.shape[-1]} wide, but this Stable Diffusion 1 model takes {sizes.context}.",
            hint="Use the text encoder that belongs to the model.",
        )
    made = {"context": context}
    if sizes.in_channels != LATENT:
        made["concat"] = torch.cat([_image_condition(cond, sizes.in_channels, shape) for cond in conds])
    return made


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net; an image condition is joined to x along channels."""
    rest = dict(kwargs)
    concat = rest.pop("concat", None)
    if concat is not None:
        x = torch.cat([x, concat.to(x.dtype)], dim=1)
    out: Tensor = net(x.contiguous(memory_format=torch.channels_last), t, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: about forty maps at full resolution, counting skips and the feed-forward."""
    assert isinstance(sizes, UNetSizes)
    batch, height, width = shape[0], shape[-2], shape[-1]
    return 40 * batch * height * width * sizes.channels[0] * 4


def _image_condition(cond: dict[str, Any], channels: int, shape: Sequence[int]) -> Tensor:
    size = (shape[-2], shape[-1])
    image: Tensor | None = cond.get("concat_latent_image")
    if channels == EDIT:
        return torch.zeros(1, LATENT, *size) if image is None else _resize(image, size)
    if channels != INPAINT:
        text = f"This net takes {channels} input channels; only {LATENT}, {EDIT} and {INPAINT} are known."
        raise BadInput(text, hint="Use another model.")
    mask: Tensor | None = cond.get("concat_mask")
    if image is None:
        picture = torch.tensor(GREY).reshape(1, LATENT, 1, 1).expand(1, LATENT, *size)
    else:
        picture = SD1.process_in(_resize(image, size))
    hole = torch.ones(1, 1, *size) if mask is None else _resize(mask.reshape(-1, 1, *mask.shape[-2:]), size).round()
    count = max(len(picture), len(hole))
    return torch.cat([_repeat(hole, count).to(picture), _repeat(picture, count)], dim=1)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    x = x.float()
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size=size, mode="bilinear")


def _repeat(x: Tensor, count: int) -> Tensor:
    return x.repeat(-(-count // len(x)), *[1] * (x.ndim - 1))[:count]
